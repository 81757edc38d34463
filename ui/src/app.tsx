// The page: the fleet, and over it the workcell that the address names.

import { route } from './common/address.ts';
import { FleetView } from './fleet/fleet-view.tsx';
import { ItemRow } from './item/item-row.tsx';
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
