"use strict";
// Shows the stage of the work, then the page with the picture.
const progress = document.getElementById("progress");
async function look() {
  try {
    const job = await (await fetch(progress.dataset.url)).json();
    if (job.state === "done" || job.state === "failed") {
      location.reload();
      return;
    }
    progress.textContent = (job.stage || job.state || "waiting") + "…";
  } catch {
    progress.textContent = "waiting for the network…";
  }
  setTimeout(look, 700);
}
look();
