"""What passes between lecturers and students of one course, and between the course and its LMS.

`ngshare.py` speaks the REST protocol of ngshare, so that nbgrader's plugin ngshare-exchange works unchanged; `api.py`
is our own part: members, roster, grades.
"""
