// The status of a workcell: an icon and a word, so that colour never stands alone.
import type { Summary } from '../core/wire.ts';

const ICONS: Record<Summary['status'], string> = {
  new: '○',
  running: '▶',
  success: '✓',
  failed: '✕',
  timeout: '◷',
  cancelled: '⊘',
  lost: '?',
};

export function StatusBadge({ status }: { status: Summary['status'] }) {
  return (
    <span class={`status status-${status}`}>
      <span class="status-icon" aria-hidden="true">
        {ICONS[status] ?? '?'}
      </span>
      {status}
    </span>
  );
}
