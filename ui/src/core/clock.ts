// Time and chance, handed in so that tests need neither.
export interface Clock {
  now(): number;
  /** Uniform in [0, 1). */
  random(): number;
  /** Calls back once after so many milliseconds, unless cancelled. */
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
