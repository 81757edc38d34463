// Whether an open socket still answers: probes it after a silence, and reports it as dead if no message follows.
import type { Clock } from './clock.ts';

/** A socket that has been silent for so long is probed. */
export const SILENCE_MS = 10_000;
/** A probed socket that stays silent for so long is dead. */
export const ANSWER_MS = 5_000;
/** A timer that fires later than this means that the page was asleep: answers may not have been delivered yet. */
export const LATE_MS = 2_000;

export class Liveness {
  readonly #clock: Clock;
  readonly #ping: () => void;
  readonly #dead: () => void;
  #heardAt = 0;
  /** When the answer to the probe is due; null while none is awaited. */
  #answerBy: number | null = null;
  #cancel: (() => void) | null = null;

  constructor(clock: Clock, ping: () => void, dead: () => void) {
    this.#clock = clock;
    this.#ping = ping;
    this.#dead = dead;
  }

  /** The socket has opened. */
  start(): void {
    this.stop();
    this.heard();
    this.#wait(SILENCE_MS);
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = null;
    this.#answerBy = null;
  }

  /** A message has arrived. */
  heard(): void {
    this.#heardAt = this.#clock.now();
    this.#answerBy = null;
  }

  /** Probe the socket now, unless an answer is awaited already. */
  probe(): void {
    if (this.#answerBy !== null && !this.#late(this.#answerBy)) return;
    this.#answerBy = this.#clock.now() + ANSWER_MS;
    this.#wait(ANSWER_MS);
    this.#ping();
  }

  #wait(ms: number): void {
    this.#cancel?.();
    this.#cancel = this.#clock.after(ms, () => this.#check());
  }

  #check(): void {
    const silence = this.#clock.now() - this.#heardAt;
    // A negative silence means that the system clock was set back.
    if (this.#answerBy === null && silence >= 0 && silence < SILENCE_MS) this.#wait(SILENCE_MS - silence);
    else if (this.#answerBy === null || this.#late(this.#answerBy)) this.probe();
    else {
      this.stop();
      this.#dead();
    }
  }

  #late(due: number): boolean {
    return this.#clock.now() - due > LATE_MS;
  }
}
