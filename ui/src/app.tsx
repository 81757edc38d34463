// The page: the fleet, and over it the workcell that the address names.
import { FleetView } from './fleet/fleet-view.tsx';
import { ItemRow } from './item/item-row.tsx';
import { route } from './shared/address.ts';
import { TopBar } from './top-bar.tsx';
import { WorkcellPanel } from './workcell/panel.tsx';

export function App() {
  const { workcell, offset } = route.value;
  return (
    <>
      <TopBar />
      <FleetView />
      {workcell !== null && (
        <WorkcellPanel key={workcell} workcell={workcell} offset={offset} Row={ItemRow} />
      )}
    </>
  );
}
