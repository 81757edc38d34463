// A cost; one by the price table is marked, and says so.
import { type Spending, spentInWords } from './core/format.ts';

export function Spent({ spent }: { spent: Spending | null }) {
  const words = spentInWords(spent);
  return spent?.computed ? (
    <span title="by the price table, where no agent has said it">{words}</span>
  ) : (
    words
  );
}
