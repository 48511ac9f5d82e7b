"""Who somebody is in a course, and in which role: the same for launches and the roster, at the hub and the exchange."""
