// A click on a picture shows it alone, in its own size: on a phone its letters are small.
document.addEventListener("click", ({ target }) => {
  if (target.matches(".bd-article img") && !target.closest("a, .sphx-glr-thumbcontainer")) {
    window.location.assign(target.currentSrc || target.src);
  }
});
