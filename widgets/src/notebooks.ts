// The names of a run's steps in its card, as links to their executed notebooks. In the file they stay plain names: only
// here somebody serves the notebooks.

import type { JupyterFrontEndPlugin } from '@jupyterlab/application';
import { PageConfig, URLExt } from '@jupyterlab/coreutils';
import { htmlRendererFactory, IRenderMimeRegistry, RenderedHTML } from '@jupyterlab/rendermime';
import type { IRenderMime } from '@jupyterlab/rendermime';

const NAME = '.aiinfra-notebook';
const FAILED_CELL = 'failed-cell'; // where a notebook failed, if it did

/** HTML as JupyterLab draws it, and then the links. */
class LinkedHTML extends RenderedHTML {
  override async render(model: IRenderMime.IMimeModel): Promise<void> {
    await super.render(model);
    for (const card of this.node.querySelectorAll('.aiinfra-card')) {
      const run = card.querySelector('.aiinfra-uri')?.textContent ?? '';
      for (const name of card.querySelectorAll(NAME)) {
        name.replaceChildren(link(run.replace(/^recipe:/, ''), name.textContent ?? ''));
      }
    }
  }
}

function link(run: string, step: string): HTMLAnchorElement {
  const node = document.createElement('a');
  const isDark = document.body.dataset.jpThemeLight === 'false';
  const path = URLExt.join(PageConfig.getBaseUrl(), 'aiinfra/notebooks', ...[run, step].map(encodeURIComponent));
  node.href = `${path}?theme=${isDark ? 'dark' : 'light'}#${FAILED_CELL}`;
  node.target = '_blank';
  node.rel = 'noopener';
  node.title = `Open the executed notebook of ${step}`;
  node.textContent = step;
  return node;
}

export const notebooks: JupyterFrontEndPlugin<void> = {
  id: 'aiinfra-lab:notebooks',
  description: 'Links the steps in the card of a recipe run to their executed notebooks.',
  autoStart: true,
  requires: [IRenderMimeRegistry],
  activate: (_app, registry: IRenderMimeRegistry) => {
    if (PageConfig.getOption('aiinfraNotebooks') === 'true') {
      const createRenderer = (options: IRenderMime.IRendererOptions): LinkedHTML => new LinkedHTML(options);
      // Just before JupyterLab's own.
      registry.addFactory({ ...htmlRendererFactory, createRenderer }, (htmlRendererFactory.defaultRank ?? 50) - 1);
    }
  }
};
