// Keeps the page up to date: fetches it again, and exchanges what may change by itself. Without it the page is the same
// as of the moment when it was loaded.
(() => {
  "use strict";
  const every = 2000, patience = 8000;
  const button = document.getElementById("live"), lost = document.getElementById("lost");
  let live = true;

  // What somebody has opened, selected or stands on is not taken away.
  const inUse = part => {
    const selection = getSelection();
    return part.querySelector("details[open]") !== null
      || !selection.isCollapsed && part.contains(selection.anchorNode);
  };
  const exchange = fresh => {
    for (const part of document.querySelectorAll("[data-live]")) {
      const next = fresh.getElementById(part.id);
      if (!next || inUse(part) || part.isEqualNode(next)) continue;
      const focused = part.contains(document.activeElement) ? document.activeElement : null;
      const scrolled = [...part.querySelectorAll(".scroll")].map(area => area.scrollLeft);
      part.replaceChildren(...next.childNodes);
      part.querySelectorAll(".scroll").forEach((area, index) => { area.scrollLeft = scrolled[index] ?? 0; });
      if (!focused) continue;
      const same = focused.id ? document.getElementById(focused.id)
        : focused.href ? [...part.querySelectorAll("a")].find(link => link.href === focused.href) : null;
      (same ?? part.querySelector("a, [tabindex]"))?.focus({ preventScroll: true });
    }
  };
  const refresh = async () => {
    if (live && !document.hidden) {
      try {
        const answer = await fetch(location.pathname + location.search, { signal: AbortSignal.timeout(patience) });
        if (!answer.ok) throw new Error(answer.status);
        exchange(new DOMParser().parseFromString(await answer.text(), "text/html"));
        lost.hidden = true;
      } catch {
        lost.hidden = false;
      }
    }
    setTimeout(refresh, every);
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    live = !live;
    button.setAttribute("aria-pressed", live);
    button.textContent = live ? "Live" : "Paused";
  });
  setTimeout(refresh, every);
})();
