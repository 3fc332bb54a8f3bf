// Pages that are opened from the disk may start no worker, so the search runs in a hidden frame.
if (location.protocol === "file:") {
  class FrameWorker extends EventTarget {
    constructor(url) {
      super();
      const source = `
        const postMessage = data => parent.postMessage({ worker: "${url}", data }, "*");
        const importScripts = (...scripts) => scripts.reduce((before, script) => before.then(
          () => new Promise((done, fail) => document.head.append(Object.assign(
            document.createElement("script"), { src: script, onload: done, onerror: fail })))),
          Promise.resolve());`;
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.srcdoc = `<script>${source}</script><script src="${url}"></script>`;
      this.loaded = new Promise(done => (this.frame.onload = done));
      addEventListener("message", event => {
        if (event.source === this.frame.contentWindow) {
          const told = new MessageEvent("message", { data: event.data.data });
          this.dispatchEvent(told);
          this.onmessage?.(told);
        }
      });
      document.body.append(this.frame);
    }
    async postMessage(data) {
      await this.loaded;
      this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data }));
    }
    terminate() {
      this.frame.remove();
    }
  }
  window.IFrameWorker = FrameWorker;
  window.Worker = FrameWorker;
}
