// The names of the wire protocol that the core uses; the types are generated.
import type { Error as ErrorMessage, Subscribe } from '../contract.ts';

export type {
  EventPage,
  Events,
  Fleet,
  Follow,
  Gap,
  Head,
  Live,
  Reset,
  Subscribe,
  Subscribed,
  Summary,
} from '../contract.ts';
export type { ErrorMessage };
export type From = NonNullable<Subscribe['from']>;
export const SUBPROTOCOL = 'workcast.v1';
