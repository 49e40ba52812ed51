/* A browser lets no page that was opened as a file start a worker, which the search runs in. Here a hidden frame stands in
   for it: it runs the same script, and messages go to and fro as events. Served pages keep the browser's own worker. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(script) {
      super();
      this.onmessage = null;
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.setAttribute("aria-hidden", "true");
      document.documentElement.appendChild(this.frame);
      const inside = this.frame.contentWindow;
      inside.postMessage = (data) => this.hand(this, inside, data);
      inside.importScripts = (...urls) => {
        throw new Error("expected a search without further scripts, found " + urls.join(", "));
      };
      this.ready = new Promise((done) => {
        const tag = inside.document.createElement("script");
        tag.src = new URL(script, location.href).href;
        tag.onload = () => done(inside);
        inside.document.documentElement.appendChild(tag);
      });
    }
    hand(to, from, data) {
      queueMicrotask(() => {
        const event = new MessageEvent("message", { data });
        to.dispatchEvent(event);
        if (to === this && this.onmessage) this.onmessage(event);
      });
    }
    postMessage(data) {
      this.ready.then((inside) => inside.dispatchEvent(new inside.MessageEvent("message", { data })));
    }
    terminate() {
      this.frame.remove();
    }
  };
}
