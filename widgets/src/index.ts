// The plugin: the panel on the left, and one command that opens it (palette, View menu).

import { ILayoutRestorer, type JupyterFrontEnd, type JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, Notification } from '@jupyterlab/apputils';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { LabIcon } from '@jupyterlab/ui-components';
import { Api } from './api';
import type { Host } from './empty';
import { errors } from './errors';
import { notebooks } from './notebooks';
import { Panel } from './panel';

const ID = 'aiinfra-lab:plugin';
const OPEN = 'aiinfra-lab:open';
const INTERVAL_S = 2;

const icon = new LabIcon({
  name: 'aiinfra-lab:icon',
  svgstr:
    '<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16" viewBox="0 0 16 16"><path class="jp-icon3" fill="#616161" d="M2 2h12v3H2zm0 4.5h12v3H2zM2 11h12v3H2zm2-8v1h1V3zm0 4.5v1h1v-1zM4 12v1h1v-1z" fill-rule="evenodd"/></svg>'
});

const plugin: JupyterFrontEndPlugin<void> = {
  id: ID,
  description: 'A side panel with what lives in the workspace, and a Stop that a busy kernel cannot delay.',
  autoStart: true,
  requires: [IRenderMimeRegistry],
  optional: [ICommandPalette, ILayoutRestorer, ISettingRegistry],
  activate
};

function activate(
  app: JupyterFrontEnd,
  rendermime: IRenderMimeRegistry,
  palette: ICommandPalette | null,
  restorer: ILayoutRestorer | null,
  registry: ISettingRegistry | null
): void {
  const panel = new Panel(new Api(app.serviceManager.serverSettings), host(app, rendermime), INTERVAL_S * 1000);
  panel.id = 'aiinfra-lab-panel';
  panel.title.icon = icon;
  panel.title.caption = 'AI infrastructure: what lives in the workspace';
  app.shell.add(panel, 'left', { rank: 550, type: 'AI infrastructure' });
  restorer?.add(panel, panel.id);
  app.commands.addCommand(OPEN, {
    label: 'AI Infrastructure',
    caption: 'Show what lives in the workspace, and stop it',
    icon,
    describedBy: { args: { type: 'object', properties: {} } },
    execute: () => app.shell.activateById(panel.id)
  });
  palette?.addItem({ command: OPEN, category: 'AI Infrastructure' });
  void registry?.load(ID).then(settings => {
    const read = (): void => {
      panel.interval = Number(settings.get('interval_s').composite ?? INTERVAL_S) * 1000;
    };
    settings.changed.connect(read);
    read();
  });
}

/** What the panel needs of JupyterLab, by JupyterLab's own commands. */
function host({ commands, serviceManager, shell }: JupyterFrontEnd, rendermime: IRenderMimeRegistry): Host {
  const listKernels = (): void => void serviceManager.kernelspecs.refreshSpecs();
  // A session may have been started meanwhile, by a cell or in a shell: whoever comes to the launcher sees it there.
  shell.currentChanged?.connect(listKernels);
  return {
    async insert(code) {
      if (!commands.hasCommand('notebook:insert-cell-below') || !commands.isEnabled('notebook:insert-cell-below')) {
        return false;
      }
      await commands.execute('notebook:insert-cell-below');
      await commands.execute('notebook:replace-selection', { text: code });
      return true;
    },
    async open(path) {
      await commands.execute('docmanager:open', { path });
    },
    listKernels,
    async draw(shown) {
      const renderer = rendermime.createRenderer('text/html');
      // As of a notebook that nobody trusts: the sanitizer looks at it.
      await renderer.renderModel(rendermime.createModel({ data: { ...shown }, trusted: false }));
      return renderer.node;
    },
    notify({ subject, what, fix }) {
      const show = { label: 'Show', callback: () => void commands.execute(OPEN) };
      Notification.warning(`${subject}: ${what}. ${fix}`, { autoClose: false, actions: [show] });
    }
  };
}

export default [plugin, errors, notebooks];
