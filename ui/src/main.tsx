import { render } from 'preact';
import { App } from './app.tsx';
import { start } from './state.ts';
import './styles/base.css';
import './styles/help.css';
import './styles/fleet.css';
import './styles/fleet-narrow.css';
import './styles/workcell.css';
import './styles/item.css';
import './styles/text.css';

const root = document.getElementById('app');
if (root === null) throw new Error('expected an element with the id "app" in index.html');
start();
render(<App />, root);
