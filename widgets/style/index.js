// One style element with all sheets. JupyterLab's build turns `*.raw.css` into text; what it does with other sheets
// costs 4 kB of code for replacing them while the page stays open, which nothing of ours does.

import panel from './panel.raw.css';
import result from './result.raw.css';
import rows from './rows.raw.css';

const sheet = document.createElement('style');
sheet.textContent = panel + rows + result;
document.head.append(sheet);
