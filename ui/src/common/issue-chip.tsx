// The issue that a workcell works on; shrinks before the id beside it does.
export function IssueChip({ issue }: { issue: string | null }) {
  return issue === null ? null : (
    <span class="chip chip-issue" title={issue}>
      {issue}
    </span>
  );
}
