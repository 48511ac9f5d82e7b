// A prebuilt JupyterLab extension, written as what a bundler would make: a container of module federation with one
// module. Lab gives it the packages that all extensions share.
"use strict";
(() => {
  let shared = {};

  // The version that Lab has loaded, else the only one there is.
  const load = async (name) => {
    const versions = Object.values(shared[name] ?? {});
    const version = versions.find((each) => each.loaded) ?? versions[0];
    if (version === undefined) throw new Error(`JupyterLab does not share ${name}.`);
    return (await version.get())();
  };

  const plugins = async () => {
    const { PageConfig, URLExt } = await load("@jupyterlab/coreutils");
    const { ServerConnection } = await load("@jupyterlab/services");
    const { ICommandPalette, Notification } = await load("@jupyterlab/apputils");
    const { ILauncher } = await load("@jupyterlab/launcher");
    const { IMainMenu } = await load("@jupyterlab/mainmenu");
    const { Menu } = await load("@lumino/widgets");

    // Lab's page configuration takes this one out for students.
    const course = {
      id: "campus-hubs-lab:course",
      description: "The way to the course page, for lecturers and tutors.",
      autoStart: true,
      optional: [ILauncher, IMainMenu, ICommandPalette],
      activate: (app, launcher, mainMenu, palette) => {
        const open = (path) => () => {
          window.open(URLExt.join(PageConfig.getBaseUrl(), path), "_blank", "noopener");
        };
        const page = "campus-hubs:course";
        const formgrader = "campus-hubs:formgrader";
        app.commands.addCommand(page, {
          label: "Roster and Grades",
          caption: "Who is in the course, and the grades' way to the LMS",
          execute: open("course"),
        });
        app.commands.addCommand(formgrader, {
          label: "Formgrader",
          caption: "Create, release, collect and grade assignments",
          execute: open("formgrader"),
        });
        launcher?.add({ command: page, category: "Course", rank: 1 });
        launcher?.add({ command: formgrader, category: "Course", rank: 2 });
        palette?.addItem({ command: page, category: "Course" });
        palette?.addItem({ command: formgrader, category: "Course" });
        if (mainMenu) {
          const menu = new Menu({ commands: app.commands });
          menu.id = "campus-hubs-course-menu";
          menu.title.label = "Course";
          menu.addItem({ command: page });
          menu.addItem({ command: formgrader });
          mainMenu.addMenu(menu, true, { rank: 900 });
        }
      },
    };

    const material = {
      id: "campus-hubs-lab:material",
      description: "Says when the course's material could not be updated.",
      autoStart: true,
      activate: (app) => {
        const look = async () => {
          const settings = ServerConnection.makeSettings();
          const url = URLExt.join(settings.baseUrl, "campus-hubs/material");
          const answer = await ServerConnection.makeRequest(url, {}, settings);
          const problem = answer.ok ? (await answer.json()).problem : "";
          if (problem) Notification.warning(problem, { autoClose: false });
        };
        // Before that nobody shows notifications. Not awaited here: it waits for this to be done.
        app.restored.then(look).catch((error) => {
          console.warn("The state of the course's material is not known.", error);
        });
      },
    };

    const membership = {
      id: "campus-hubs-lab:membership",
      description: "Says when the person's access to the course is about to end.",
      autoStart: true,
      activate: (app) => {
        let shown = "";
        const look = async () => {
          // A hidden page must not keep an idle server alive.
          if (document.hidden) return;
          const settings = ServerConnection.makeSettings();
          const url = URLExt.join(settings.baseUrl, "campus-hubs/membership");
          const answer = await ServerConnection.makeRequest(url, {}, settings);
          const { ends, notice } = answer.ok ? await answer.json() : {};
          const due = ends !== undefined && Date.now() / 1000 > notice;
          if (shown && !due) {
            Notification.dismiss(shown);
            shown = "";
          } else if (due && !shown) {
            const time = new Date(ends * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
            const text =
              `Your access to this course ends at ${time}, and your server stops: open the course again from your LMS ` +
              "before that. Then everything goes on as it is.";
            shown = Notification.warning(text, { autoClose: false });
          }
        };
        const again = () => {
          look().catch((error) => {
            console.warn("The end of the access to the course is not known.", error);
          });
        };
        app.restored.then(() => {
          again();
          window.setInterval(again, 5 * 60 * 1000);
          document.addEventListener("visibilitychange", again);
        });
      },
    };

    return [course, material, membership];
  };

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB["campus-hubs-lab"] = {
    init: (scope) => {
      shared = scope;
    },
    get: async () => {
      const found = await plugins();
      return () => found;
    },
  };
})();
