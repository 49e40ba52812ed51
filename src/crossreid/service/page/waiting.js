// Cancellable waiting.

export const pause = (seconds, signal) =>
  new Promise((done, abort) => {
    signal?.throwIfAborted();
    const timer = setTimeout(done, 1000 * seconds);
    signal?.addEventListener("abort", () => { clearTimeout(timer); abort(signal.reason); }, { once: true });
  });
