// A list of keys and what they do.
export type Keys = readonly (readonly [key: string, meaning: string])[];

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
