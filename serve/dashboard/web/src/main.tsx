import { render } from 'preact';
import { startPreferences } from './state/preferences';
import './styles/base.css';
import './styles/live.css';
import './styles/forms.css';
import { App } from './ui/app';

startPreferences();
const root = document.getElementById('app');
if (root) render(<App />, root);
