// Errors of ours as cards. The output in the file stays what it is, two lines of an error: they are only drawn otherwise.

import type { JupyterFrontEndPlugin } from '@jupyterlab/application';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import type { IRenderMime } from '@jupyterlab/rendermime';
import { Widget } from '@lumino/widgets';
import { element, sentence } from './dom';

const ERROR = 'application/vnd.jupyter.error';
const TEXT = 'application/vnd.jupyter.stderr';
const FIX = '  fix: ';

interface Kind {
  state: string;
  tone: string;
}

interface LabError extends Kind {
  what: string;
  fix: string;
  code: string;
}

// What each kind of error is called, where that is not `failed`; those of the alphabet of states look as it says.
const KINDS: Record<string, Kind> = {
  UsageProblem: bad('not understood'),
  NotFound: bad('not found'),
  Conflict: bad('conflict'),
  Denied: bad('denied'),
  Interrupted: { state: '■ no longer waited for', tone: 'off' },
  StoppedEarly: { state: '■ stopped', tone: 'off' },
  Inconclusive: { state: '? cannot tell', tone: 'unsure' },
  Unavailable: bad('unavailable'),
  Missing: bad('not installed'),
  StoreUnavailable: bad('unavailable'),
  Damaged: bad('damaged')
};

function bad(word: string): Kind {
  return { state: `✕ ${word}`, tone: 'bad' };
}

/** Draws our errors, and leaves all others to whoever draws them without us. */
class ErrorCard extends Widget implements IRenderMime.IRenderer {
  private inner: IRenderMime.IRenderer | undefined;

  constructor(private readonly registry: IRenderMimeRegistry) {
    super();
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    const error = ours(model.data[ERROR]);
    if (error) {
      this.addClass('jp-RenderedHTMLCommon');
      this.node.replaceChildren(card(error));
      return;
    }
    if (!this.inner) {
      this.inner = this.registry.createRenderer(TEXT);
      this.addClass('aiinfra-OtherError');
      this.node.replaceChildren(this.inner.node);
    }
    await this.inner.renderModel(model);
  }

  override dispose(): void {
    this.inner?.dispose();
    super.dispose();
  }
}

function ours(output: unknown): LabError | undefined {
  const { ename = '', evalue = '', traceback = [] } = (output ?? {}) as {
    ename?: string;
    evalue?: string;
    traceback?: string[];
  };
  const kind = KINDS[ename] ?? bad('failed');
  const [first = '', second = ''] = traceback.slice(-2);
  if (!first.startsWith(`${ename}: `) || !second.startsWith(FIX)) {
    return undefined; // not one of ours, whatever its name is
  }
  // Of what was the matter in a training cell, the lines of its own code stand before those two.
  const code = traceback.slice(0, -2).join('\n');
  const at = evalue.lastIndexOf(`\n${FIX}`);
  return at < 0
    ? { ...kind, code, what: first.slice(ename.length + 2), fix: second.slice(FIX.length) }
    : { ...kind, code, what: evalue.slice(0, at), fix: evalue.slice(at + FIX.length + 1) };
}

function card(error: LabError): HTMLElement {
  const node = element('section', `aiinfra-card aiinfra-${error.tone}`);
  const head = element('p', 'aiinfra-head');
  const [first, ...more] = error.what.split('\n');
  head.append(element('span', `aiinfra-state aiinfra-${error.tone}`, error.state), ' ', title(first ?? ''));
  const fix = element('p');
  fix.append(element('b', '', 'Fix:'), ' ', ...sentence(error.fix));
  node.append(head, ...(more.length ? [element('pre', '', more.join('\n'))] : []), fix);
  if (error.code) {
    const fold = element('details');
    fold.append(element('summary', '', 'where in the code'), element('pre', '', error.code));
    node.append(fold);
  }
  return node;
}

function title(what: string): HTMLElement {
  const node = element('strong', 'aiinfra-uri');
  // A sentence begins with a capital; a URI or a name is written as it is.
  node.append(...sentence(/^[a-z]+[ ,]/.test(what) ? what.charAt(0).toUpperCase() + what.slice(1) : what));
  return node;
}

export const errors: JupyterFrontEndPlugin<void> = {
  id: 'aiinfra-lab:errors',
  description: 'Draws the errors of aiinfra-lab as cards: what happened, and how to mend it.',
  autoStart: true,
  requires: [IRenderMimeRegistry],
  activate: (_app, registry: IRenderMimeRegistry) => {
    registry.addFactory(
      // Before the one that draws every error as text.
      { safe: true, mimeTypes: [ERROR], defaultRank: 100, createRenderer: () => new ErrorCard(registry) },
      100
    );
  }
};
