// A cost; an estimate by the price table is marked as one.
import { type Spending, spentInWords } from '../core/format.ts';

export function Spent({ spent }: { spent: Spending | null }) {
  const words = spentInWords(spent);
  return spent?.computed ? (
    <span title="computed from the price table where the agent reports no cost">{words}</span>
  ) : (
    words
  );
}
