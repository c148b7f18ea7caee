// The side panel: a plain list of what lives in the workspace or ended lately, each with a Stop.

import { Poll } from '@lumino/polling';
import { Widget } from '@lumino/widgets';
import { Api, ApiError, type Item, type Items } from './api';
import { Card, element, isLive, kind, setText } from './card';

const EMPTY =
  'Nothing lives here yet. Run for example `%gpu start trainer` in a notebook: sessions, runs and endpoints are listed here, and each can be stopped, even while its kernel is busy.';

export class Panel extends Widget {
  private readonly poll: Poll<void, unknown>;
  private readonly cards = new Map<string, Card>();
  private readonly heading = element('h2', 'aiinfra-Panel-heading', 'AI infrastructure');
  private readonly workspace = element('p', 'aiinfra-Panel-workspace');
  private readonly status = element('p', 'aiinfra-Panel-status');
  private readonly trouble = element('div', 'aiinfra-Panel-trouble');
  private readonly live = new Section('Live');
  private readonly ended = new Section('Recently ended');
  private readonly empty = element('div', 'aiinfra-Panel-empty');
  private rev = 0;
  private refused: Card | undefined; // a Stop that was refused is told until the next one is pressed, or it has ended
  private clock = 0; // server's clock minus ours, in seconds

  constructor(
    private readonly api: Api,
    interval: number
  ) {
    super();
    this.addClass('aiinfra-Panel');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', 'What lives in the workspace');
    this.status.setAttribute('role', 'status');
    this.trouble.setAttribute('role', 'alert');
    this.heading.tabIndex = -1;
    this.node.append(this.heading, this.workspace, this.status, this.trouble, this.empty, this.live.node, this.ended.node);
    this.poll = new Poll<void, unknown>({
      name: 'aiinfra-lab:items',
      auto: false,
      factory: () => this.fetch(),
      frequency: { interval, max: 60_000, backoff: true },
      standby: () => (this.isVisible ? 'when-hidden' : true)
    });
  }

  /** Milliseconds between two looks. */
  set interval(interval: number) {
    this.poll.frequency = { ...this.poll.frequency, interval };
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this.poll.dispose();
      super.dispose();
    }
  }

  protected override onAfterShow(): void {
    void this.poll.refresh();
  }

  protected override onActivateRequest(): void {
    this.heading.focus(); // Tab leads on to the first Stop
  }

  private async fetch(): Promise<void> {
    try {
      this.take(await this.api.items(this.rev));
    } catch (error) {
      this.refused = undefined; // told until the server answers again
      this.complain(error);
      if (error instanceof ApiError && error.missing) {
        void this.poll.stop(); // asking again would only fill the server's log; the button starts it again
        return;
      }
      throw error; // the poll backs off
    }
  }

  private take(answer: Items): void {
    const focused = this.focused(); // looked at first: a button that is hidden has lost it already
    if (this.rev === 0 || answer.rev < this.rev) {
      this.keepOnly(new Set(answer.items.map(item => item.job)));
    }
    this.rev = answer.rev;
    this.clock = answer.now === undefined ? 0 : answer.now - Date.now() / 1000;
    for (const item of answer.items) {
      this.card(item).update(item, this.now);
    }
    for (const card of this.cards.values()) {
      card.update(card.thing, this.now); // the time that has passed
    }
    if (this.refused && !isLive(this.refused.thing)) {
      this.refused = undefined;
    }
    if (!this.refused) {
      this.trouble.replaceChildren();
    }
    setText(this.workspace, answer.workspace === null ? '' : `Workspace ${answer.workspace}`);
    this.arrange(focused);
    this.sayNothing(answer.hint);
  }

  private card(item: Item): Card {
    let card = this.cards.get(item.job);
    if (!card) {
      card = new Card(item, pressed => void this.stop(pressed));
      this.cards.set(item.job, card);
    }
    return card;
  }

  /** Live things above, ended ones below, newest first; an element that stays where it is is not touched. */
  private arrange(focused = this.focused()): void {
    const all = [...this.cards.values()].sort((a, b) => b.thing.since - a.thing.since);
    const live = all.filter(card => isLive(card.thing));
    const ended = all.filter(card => !isLive(card.thing));
    for (const old of ended.splice(20)) {
      this.cards.delete(old.thing.job);
    }
    this.live.hold(live);
    this.ended.hold(ended);
    if (focused && !isLive(focused.thing)) {
      this.heading.focus(); // its button is gone: not to another one, which a further Enter would press
    }
    const count = live.length === 1 ? '1 thing lives' : `${live.length || 'no'} things live`;
    const stopping = live.filter(card => card.thing.state === 'stopping').map(card => card.thing.name);
    setText(this.status, stopping.length ? `${count}; stopping ${stopping.join(', ')}` : count);
  }

  private focused(): Card | undefined {
    return [...this.cards.values()].find(card => card.focused);
  }

  private keepOnly(jobs: Set<string>): void {
    for (const job of [...this.cards.keys()].filter(known => !jobs.has(known))) {
      this.cards.delete(job);
    }
  }

  private sayNothing(hint: string | undefined): void {
    this.empty.replaceChildren();
    if (hint) {
      this.empty.append(paragraph('There is no workspace here yet.'), paragraph(hint));
    } else if (this.cards.size === 0) {
      this.empty.append(paragraph(EMPTY));
    }
  }

  private async stop(card: Card): Promise<void> {
    const before = card.thing;
    this.refused = undefined;
    this.trouble.replaceChildren();
    card.update({ ...before, state: 'stopping', stoppable: false }, this.now);
    this.arrange();
    try {
      await this.api.stop(before);
    } catch (error) {
      card.update(before, this.now);
      this.arrange();
      this.refused = card;
      this.complain(error, `${kind(before)} ${before.name} was not stopped.`);
    }
    void this.poll.refresh();
  }

  private complain(error: unknown, what = ''): void {
    const problem = error instanceof ApiError ? error : new ApiError(String(error), '');
    const said = [paragraph(`${what} ${problem.message}`.trim()), paragraph(problem.fix)];
    if (problem.missing) {
      const again = element('button', 'aiinfra-Panel-again', 'Try again');
      again.type = 'button';
      again.addEventListener('click', () => void this.poll.refresh());
      said.push(again);
    }
    const same = this.trouble.textContent === said.map(node => node.textContent).join('');
    if (!same) {
      this.trouble.replaceChildren(...said); // only then: a screen reader reads it out each time
    }
  }

  private get now(): number {
    return Date.now() / 1000 + this.clock;
  }
}

/** A heading and its list; not shown while it is empty. */
class Section {
  readonly node = element('section', 'aiinfra-Panel-section');
  private readonly list = element('ul', 'aiinfra-Panel-list');

  constructor(title: string) {
    this.list.setAttribute('aria-label', title);
    this.node.append(element('h3', 'aiinfra-Panel-subheading', title), this.list);
    this.hold([]);
  }

  hold(cards: Card[]): void {
    this.node.hidden = cards.length === 0;
    const wanted = new Set<Element>(cards.map(card => card.node));
    for (const old of [...this.list.children].filter(node => !wanted.has(node))) {
      old.remove();
    }
    // After that only new cards have to be put in: an element that moves would lose the focus.
    cards.forEach((card, place) => {
      const there = this.list.children[place] ?? null;
      if (there !== card.node) {
        this.list.insertBefore(card.node, there);
      }
    });
  }
}

/** A paragraph in which `code` stands as code. */
function paragraph(text: string): HTMLElement {
  const node = element('p', 'aiinfra-Panel-text');
  text.split('`').forEach((part, place) => node.append(place % 2 ? element('code', 'aiinfra-Panel-code', part) : part));
  return node;
}
