// The keys of Mission Control and of a workcell.
type Keys = readonly (readonly [key: string, meaning: string])[];

export const FLEET_KEYS: Keys = [
  ['j / k', 'next, previous workcell'],
  ['Enter', 'open the workcell'],
  ['Home / End', 'the first, the last workcell'],
  ['/', 'search'],
  ['Escape', 'clear the search; leave it'],
  ['?', 'this help'],
];

export const WORKCELL_KEYS: Keys = [
  ['j / k', 'next, previous item'],
  ['Enter', 'open or close the item'],
  ['↑ / ↓', 'a little up, down'],
  ['PageUp / PageDown', 'a page up, down'],
  ['Home / End', 'the beginning of the log; the end, and follow it'],
  ['?', 'this help'],
  ['Escape', 'close'],
];

export function Help({ keys, onClose }: { keys: Keys; onClose: () => void }) {
  return (
    <aside class="help" aria-label="Keys">
      <dl>
        {keys.map(([key, meaning]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{meaning}</dd>
          </div>
        ))}
      </dl>
      <button type="button" onClick={onClose}>
        close
      </button>
    </aside>
  );
}
