/** One animation frame loop for all tiles; it runs only while somebody listens. */

type Listener = (nowMs: number) => void;

const listeners = new Set<Listener>();
let handle = 0;

function loop(nowMs: number): void {
  for (const listener of listeners) listener(nowMs);
  handle = listeners.size > 0 ? requestAnimationFrame(loop) : 0;
}

/** Calls `listener` before each repaint, until the returned function is called. */
export function onEachRepaint(listener: Listener): () => void {
  listeners.add(listener);
  if (handle === 0) handle = requestAnimationFrame(loop);
  return () => {
    listeners.delete(listener);
  };
}
