// The first line of a row: an icon and a word for its kind, and its subject.
import type { ComponentChildren } from 'preact';
import { RunningTime } from '../common/running-time.tsx';
import { openedWorkcell } from '../common/state.ts';
import { StatusBadge } from '../common/status-badge.tsx';
import { cost, counted, duration, tokens } from '../core/format.ts';
import type { CallItem, Item, TextItem } from '../core/item.ts';
import { callSubject } from '../core/subject.ts';
import { VisibleText } from '../text/visible-text.tsx';
import { FileName } from './file-name.tsx';

interface Props {
  item: Item;
  open: boolean;
  onToggle: () => void;
}

export function Title({ item, open, onToggle }: Props) {
  const foldable = item.kind === 'call' || item.kind === 'thinking' || item.kind === 'raw';
  if (!foldable) return <span class="item-title">{label(item)}</span>;
  return (
    <button type="button" class="item-title item-toggle" aria-expanded={open} onClick={onToggle}>
      <span class="caret" aria-hidden="true">
        {open ? '▾' : '▸'}
      </span>
      {label(item)}
    </button>
  );
}

function label(item: Item): ComponentChildren {
  switch (item.kind) {
    case 'prompt':
      return <Label icon="❯" word="prompt" />;
    case 'answer':
      return (
        <Label
          icon="●"
          word={item.role === 'assistant' ? 'answer' : item.role}
          subject={abandonedNote(item)}
          growing={item.partial}
        />
      );
    case 'thinking':
      return (
        <Label
          icon="✲"
          word="thinking"
          subject={abandonedNote(item) || firstLine(item.text)}
          growing={item.partial}
        />
      );
    case 'call':
      return <CallTitle call={item} />;
    case 'command':
      return <Label icon="$" word="command" />;
    case 'output':
      return item.stream === 'stderr' ? (
        <Label icon="≡" word="stderr" subject={exitNote(item.exitCode)} class="warn" />
      ) : (
        <Label icon="≡" word="output" subject={exitNote(item.exitCode)} />
      );
    case 'file':
      return (
        <>
          <Label icon={item.file.write ? '✎' : '◫'} word={item.file.write ? 'wrote' : 'read'} />
          <FileName file={item.file} />
        </>
      );
    case 'usage':
      return <Label icon="∑" word="tokens" subject={tokens(item.usage ?? {})} />;
    case 'started':
      return <Label icon="▶" word={`${item.toolchain} started`} />;
    case 'outcome':
      return <Outcome item={item} />;
    case 'error':
      return item.retryable ? (
        <Label icon="↻" word={`${item.what || 'error'}, will be retried`} class="warn" />
      ) : (
        <Label icon="✕" word={item.what || 'error'} class="bad" />
      );
    case 'raw':
      return <Label icon="?" word="not recognized" subject={item.why} class="warn" />;
    case 'gap':
      return (
        <Label icon="⋯" word={`events #${item.offset}–#${item.until - 1} cannot be shown`} class="warn" />
      );
  }
}

function Label(props: { icon: string; word: string; subject?: string; growing?: boolean; class?: string }) {
  return (
    <>
      <span class={`icon ${props.class ?? ''}`} aria-hidden="true">
        {props.icon}
      </span>
      <span class={`word ${props.class ?? ''}`}>
        <VisibleText text={props.word} />
      </span>
      {props.growing && <span class="growing">…</span>}
      {props.subject !== undefined && props.subject !== '' && (
        <span class="subject">
          <VisibleText text={props.subject} />
        </span>
      )}
    </>
  );
}

const CALL_ICONS = { open: '◌', ok: '✓', failed: '✕', lost: '⊘' };
const CALL_WORDS = { open: 'running', ok: '', failed: 'failed', lost: 'no result: the agent ended' };

function CallTitle({ call }: { call: CallItem }) {
  // The log of a lost run has no event that closes its calls.
  const state = call.state === 'open' && openedWorkcell.value?.status === 'lost' ? 'lost' : call.state;
  return (
    <>
      <span class={`icon call-${state}`} aria-hidden="true">
        {CALL_ICONS[state]}
      </span>
      <span class="word">
        <VisibleText text={call.tool} />
      </span>
      <span class="subject mono">
        <VisibleText text={callSubject(call)} />
      </span>
      {call.files.length === 1 && call.files[0] && <FileName file={call.files[0]} figuresOnly />}
      <span class={`call-state call-${state}`}>
        {callNotes(call, state)} {state === 'open' && call.time !== null && <RunningTime since={call.time} />}
      </span>
    </>
  );
}

function callNotes(call: CallItem, state: CallItem['state']): string {
  return joined([
    CALL_WORDS[state],
    call.resultOnly ? 'the result of an earlier call' : '',
    exitNote(call.exitCode === 0 ? null : call.exitCode),
    call.durationMs === null ? '' : duration(call.durationMs),
  ]);
}

function Outcome({ item }: { item: Extract<Item, { kind: 'outcome' }> }) {
  const { status, exit_code, duration_ms, cost_usd, usage, unwritten_events } = item.completed;
  return (
    <>
      <StatusBadge status={status} />
      <span class="subject">
        {joined([
          exitNote(exit_code ?? null),
          duration_ms == null ? '' : duration(duration_ms),
          cost_usd == null ? '' : cost(cost_usd),
          usage == null ? '' : tokens(usage),
          unwritten_events ? `${counted(unwritten_events, 'event')} could not be written` : '',
        ])}
      </span>
    </>
  );
}

function abandonedNote(item: TextItem): string {
  return item.abandoned ? 'discarded: the stream broke off' : '';
}

function joined(parts: readonly string[]): string {
  return parts.filter((part) => part !== '').join(' · ');
}

function exitNote(code: number | null): string {
  return code === null ? '' : `exit ${code}`;
}

function firstLine(text: string): string {
  return text.trimStart().slice(0, 200).split('\n')[0] ?? '';
}
