// Time and randomness as a parameter, so that tests control both.
export interface Clock {
  /** In ms since 1970: it continues while the machine sleeps. */
  now(): number;
  /** Uniform in [0, 1). */
  random(): number;
  /** Call back once, after so many milliseconds or later; returns how to cancel that. */
  after(ms: number, callback: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  random: () => Math.random(),
  after(ms, callback) {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
};
