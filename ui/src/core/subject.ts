// What a tool call is about, in one line.
import type { CallItem } from './item.ts';

/** How Codex starts every command. */
const SHELL = /^(?:\/\w+)*\/?(?:bash|zsh|sh) -l?c (?:'(.*)'|"(.*)")$/s;
const TELLING = ['command', 'file_path', 'path', 'pattern', 'query', 'url', 'description', 'prompt', 'input'];

export function callSubject(call: CallItem): string {
  const command = call.command === null ? null : withoutShell(call.command);
  const text = command ?? call.files[0]?.path ?? fromArguments(call.args) ?? '';
  return text.trim().slice(0, 300).split('\n')[0] ?? '';
}

/** The command itself; the whole line stands among the call's parts. */
function withoutShell(command: string): string {
  const [, single, double] = SHELL.exec(command.trim()) ?? [];
  return single?.replaceAll("'\\''", "'") ?? double ?? command;
}

function fromArguments(args: unknown): string | null {
  if (typeof args === 'string') return args;
  if (typeof args !== 'object' || args === null) return null;
  const fields = args as Record<string, unknown>;
  const texts = Object.values(fields).filter((value) => typeof value === 'string');
  for (const name of TELLING) {
    const value = fields[name];
    if (typeof value === 'string') return value;
    // Codex gives a command as a list of words.
    if (Array.isArray(value) && value.length > 0) return value.map(String).join(' ');
  }
  return texts[0] ?? null;
}
