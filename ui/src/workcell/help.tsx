// The keys of the workcell panel.
const KEYS: readonly (readonly [string, string])[] = [
  ['j / k', 'next, previous item'],
  ['Enter', 'open or close the item'],
  ['PageUp / PageDown', 'a page up, down'],
  ['Home / End', 'the beginning of the log; the end, and follow it'],
  ['/', 'filter the fleet (in Mission Control)'],
  ['?', 'this help'],
  ['Escape', 'close'],
];

export function Help({ onClose }: { onClose: () => void }) {
  return (
    <aside class="help" aria-label="Keys">
      <dl>
        {KEYS.map(([key, meaning]) => (
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
