// What the wire carries as an event, and whether it is what its type promises.
import type { KnownEvent } from '../contract.ts';

/** An event as it came: known types that do not fit their model travel unchanged, so nothing is certain yet. */
export type WireEvent = { readonly [field: string]: unknown };

const FIELDS: Record<string, 'string' | 'number' | 'boolean'> = {
  agent_version: 'string',
  block: 'number',
  call_id: 'string',
  command: 'string',
  content: 'string',
  cost_usd: 'number',
  cwd: 'string',
  diff: 'string',
  duration_ms: 'number',
  error: 'string',
  exit_code: 'number',
  git_commit: 'string',
  kind: 'string',
  lines_added: 'number',
  lines_removed: 'number',
  message_id: 'string',
  model: 'string',
  output: 'string',
  parent_call_id: 'string',
  partial: 'boolean',
  path: 'string',
  prompt: 'string',
  raw: 'string',
  rerun_of: 'string',
  retryable: 'boolean',
  role: 'string',
  session_id: 'string',
  status: 'string',
  stream: 'string',
  timestamp: 'string',
  tokens: 'number',
  tool: 'string',
  toolchain: 'string',
  unanswered: 'boolean',
};

const REQUIRED: Record<KnownEvent['type'], readonly string[]> = {
  started: [],
  prompt_sent: ['prompt'],
  response_chunk: ['content'],
  response_complete: ['content'],
  thinking: ['content'],
  usage: ['usage'],
  tool_call: ['tool'],
  tool_result: [],
  bash_command: ['command'],
  bash_output: ['output'],
  file_read: ['path'],
  file_write: ['path'],
  completed: ['status'],
  error: ['error'],
  unknown: ['raw'],
};

export function isKnownType(type: string): type is KnownEvent['type'] {
  return Object.hasOwn(REQUIRED, type);
}

/** The event with its type, if every field that the page shows is of the kind the model says; else null. */
export function known(event: WireEvent): KnownEvent | null {
  const type = event.type;
  if (typeof type !== 'string' || !isKnownType(type)) return null;
  for (const field of REQUIRED[type]) {
    if (event[field] === undefined || event[field] === null) return null;
  }
  for (const field in event) {
    const value = event[field];
    if (value === null || value === undefined) continue;
    if (Object.hasOwn(FIELDS, field) && typeof value !== FIELDS[field]) return null;
    if (field === 'usage' && typeof value !== 'object') return null;
  }
  return event as unknown as KnownEvent;
}

/** The time an event bears, in ms since 1970, or null. */
export function timeOf(event: WireEvent): number | null {
  const stamp = event.timestamp;
  if (typeof stamp !== 'string') return null;
  // The system that came before wrote no offset and meant UTC.
  const time = Date.parse(/(?:Z|[+-]\d\d:?\d\d)$/.test(stamp) ? stamp : `${stamp}Z`);
  return Number.isNaN(time) ? null : time;
}

/** How many bytes the whole line has, if the wire cut this event. */
export function truncatedBytes(event: WireEvent): number | null {
  const cut = event.truncated;
  if (typeof cut !== 'object' || cut === null || !('bytes' in cut)) return null;
  return typeof cut.bytes === 'number' ? cut.bytes : null;
}
