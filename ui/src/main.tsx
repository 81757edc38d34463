// The entry point: starts what acts, then draws. Importing any other module has no effect.
import { render } from 'preact';
import { App } from './app.tsx';
import { watchAddress } from './common/address.ts';
import { start } from './common/state.ts';
import { startTheme } from './theme.ts';
import './styles/base.css';
import './styles/help.css';
import './styles/fleet.css';
import './styles/fleet-narrow.css';
import './styles/workcell.css';
import './styles/item.css';
import './styles/text.css';

const root = document.getElementById('app');
if (root === null) throw new Error('expected an element with the id "app" in index.html');
startTheme();
watchAddress();
start();
render(<App />, root);
