// The subject of a tool call in one line.
import type { CallItem } from './item.ts';

/** The shell in which Codex runs every command. */
const SHELL = /^(?:\/\w+)*\/?(?:bash|zsh|sh) -l?c (?:'(.*)'|"(.*)")$/s;
/** Arguments that identify a call, the best first. */
const SUBJECT_ARGUMENTS = [
  'command',
  'file_path',
  'path',
  'pattern',
  'query',
  'url',
  'description',
  'prompt',
  'input',
];

export function callSubject(call: CallItem): string {
  const command = call.command === null ? null : withoutShell(call.command);
  const text = command ?? call.files[0]?.path ?? fromArguments(call.args) ?? '';
  return text.trim().slice(0, 300).split('\n')[0] ?? '';
}

/** The command itself; the full line is shown among the call's parts. */
function withoutShell(command: string): string {
  const [, single, double] = SHELL.exec(command.trim()) ?? [];
  return single?.replaceAll("'\\''", "'") ?? double ?? command;
}

function fromArguments(args: unknown): string | null {
  if (typeof args === 'string') return args;
  if (typeof args !== 'object' || args === null) return null;
  const fields = args as Record<string, unknown>;
  const texts = Object.values(fields).filter((value) => typeof value === 'string');
  for (const name of SUBJECT_ARGUMENTS) {
    const value = fields[name];
    if (typeof value === 'string') return value;
    // Codex reports a command as a list of words.
    if (Array.isArray(value) && value.length > 0) return value.map(String).join(' ');
  }
  return texts[0] ?? null;
}
