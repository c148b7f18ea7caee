// The side panel: what lives in the workspace or ended lately, what it costs, and a Stop that no kernel can delay.
//
//   api.ts      the REST of the server's half, and the shape of its answers
//   item.ts     what can be told of an item without a document: its section, its order, its line of facts
//   panel.ts    asks the server again and again, and does what was chosen
//   head.ts     workspace, count, price an hour, filter           trouble.ts  the banner below it
//   list.ts     sections and rows; nothing moves while somebody points at them
//   section.ts  a heading that closes, and its rows               row.ts      one thing, kept and updated
//   details.ts  what an opened row shows                          asking.ts   the question before an act
//   pointer.ts  no click hits what has moved under the pointer    empty.ts    what is shown where nothing runs
//   dom.ts, format.ts  elements, times and money
//
// How a state looks, what a thing shows and what is asked before an act is decided by the server; here only "stopping"
// is known, which is true from the press of the button on.

import { Poll } from '@lumino/polling';
import { Widget } from '@lumino/widgets';
import { Api, ApiError, type Item, type Items } from './api';
import { copy, element } from './dom';
import { Empty, type Host } from './empty';
import { clock, duration } from './format';
import { Head } from './head';
import { asStopping, kind } from './item';
import { List } from './list';
import { RestingPointer } from './pointer';
import type { Row } from './row';
import { Banner } from './trouble';

const DETAILS_MS = 5000;

export class Panel extends Widget {
  private readonly poll: Poll<void, unknown>;
  private readonly head = new Head(words => this.list.search(words));
  private readonly banner = new Banner(() => this.list.isHeld);
  private readonly empty: Empty;
  private readonly list: List;
  private readonly pointer: RestingPointer;
  private rev = 0;
  private feed: string | undefined;
  private lookedAt = 0; // by our clock, in seconds
  private clock = 0; // server's clock minus ours, in seconds
  private refused: Item | undefined; // a Stop that was refused is told until the next one is pressed, or it has ended
  private arrived: Item[] = [];
  private detailed = 0;

  constructor(
    private readonly api: Api,
    host: Host,
    interval: number
  ) {
    super();
    this.addClass('aiinfra-Panel');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', 'What lives in the workspace');
    this.empty = new Empty(host);
    this.list = new List(this, () => this.now, () => this.settle());
    this.pointer = new RestingPointer(this.node);
    const sticky = element('div', 'aiinfra-Panel-sticky');
    sticky.append(this.head.node, this.banner.node);
    this.node.append(sticky, this.empty.node, this.list.node);
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

  // ---- what rows ask for ----

  toggle(row: Row): void {
    const before = row.top;
    const isOpen = !row.isOpen;
    for (const other of this.list.allRows) {
      if (other !== row && other.isOpen) {
        other.open(false);
      }
    }
    row.open(isOpen);
    this.node.scrollTop += row.top - before; // one that closed above it must not take it away from the pointer
    if (isOpen) {
      void this.look(row);
    }
  }

  asks(row: Row): void {
    const before = row.top;
    for (const other of this.list.allRows) {
      if (other !== row) {
        other.answer(undefined);
      }
    }
    this.node.scrollTop += row.top - before;
  }

  call(row: Row, verb: string): void {
    void (verb === 'stop' ? this.stop(row) : this.act(row, verb));
  }

  // ---- looking ----

  protected override onAfterShow(): void {
    void this.poll.refresh();
  }

  protected override onActivateRequest(): void {
    this.head.heading.focus(); // Tab leads on into the list
  }

  private async fetch(): Promise<void> {
    try {
      this.take(await this.api.items(this.rev));
    } catch (error) {
      this.refused = undefined; // told until the server answers again
      this.lost(error);
      if (error instanceof ApiError && error.kind === 'missing') {
        void this.poll.stop(); // asking again would only fill the server's log; the button starts it again
        return;
      }
      throw error; // the poll backs off
    }
  }

  private take(answer: Items): void {
    if (this.rev && answer.feed !== this.feed) {
      // Another process answers, which cannot know what is gone since: it is asked for everything.
      this.rev = 0;
      this.feed = answer.feed;
      void this.poll.refresh();
      return;
    }
    const isEverything = this.rev === 0 || answer.rev < this.rev;
    this.feed = answer.feed;
    this.rev = answer.rev;
    this.clock = answer.now === undefined ? 0 : answer.now - Date.now() / 1000;
    this.lookedAt = Date.now() / 1000;
    const fresh = this.list.take(answer.items, answer.gone ?? [], isEverything);
    this.list.tick();
    this.arrived = isEverything ? [] : [...(this.list.isHeld ? this.arrived : []), ...fresh];
    if (this.refused && !this.list.all.some(item => item.job === this.refused?.job && item.is_live)) {
      this.refused = undefined;
    }
    if (!this.refused) {
      this.banner.clear();
    }
    this.node.removeAttribute('data-stale');
    this.head.show(answer, this.list.all.filter(item => item.is_live).length, this.list.size, this.now);
    this.tell();
    this.empty.show(answer, this.list.size === 0);
    this.lookAgain();
  }

  /** Say to whoever cannot see it what is being stopped, and what is new. */
  private tell(): void {
    const stopping = this.list.all.filter(item => item.state === 'stopping').map(item => item.name);
    const arrived = this.arrived.map(item => `${kind(item)} ${item.name}`);
    this.head.tell(
      `${stopping.length ? `; stopping ${stopping.join(', ')}` : ''}${arrived.length ? `; new: ${arrived.join(', ')}` : ''}`
    );
  }

  private settle(): void {
    this.banner.settle();
    this.arrived = [];
  }

  private async look(row: Row): Promise<void> {
    const { body, item } = row;
    this.detailed = performance.now();
    try {
      const details = await this.api.details(item);
      body?.show(row.item, details);
    } catch (error) {
      if (body?.isEmpty) {
        body.complain(`${text(error)} ${error instanceof ApiError ? error.fix : ''}`);
      }
    }
  }

  /** Look closer again at the row that is open, unless the pointer is over rows that this might move. */
  private lookAgain(): void {
    const row = this.list.openRow;
    const isOverOthers = row && this.pointer.isOver(this.list.node) && !this.pointer.isOver(row.node);
    if (row && !isOverOthers && performance.now() - this.detailed >= DETAILS_MS) {
      void this.look(row);
    }
  }

  // ---- acting ----

  private async stop(row: Row): Promise<void> {
    const before = row.item;
    this.refused = undefined;
    this.banner.clear();
    this.list.show(asStopping(before));
    this.list.arrange();
    this.tell();
    try {
      await this.api.stop(before);
    } catch (error) {
      this.list.show(before);
      this.list.arrange();
      this.tell();
      this.refuse(before, error, 'was not stopped');
    }
    void this.poll.refresh();
  }

  private async act(row: Row, verb: string): Promise<void> {
    const before = row.item;
    const title = before.actions.find(action => action.verb === verb)?.title ?? verb;
    this.refused = undefined;
    this.banner.clear();
    row.working(`◐ ${title}: under way`, this.now);
    try {
      await this.api.act(before, verb);
    } catch (error) {
      this.refuse(before, error, `${title}: not done`);
    } finally {
      row.working('', this.now);
    }
    this.detailed = 0;
    void this.poll.refresh();
  }

  private refuse(item: Item, error: unknown, what: string): void {
    this.refused = item;
    const title = what.includes(':') ? `${what}.` : `${kind(item)} ${item.name} ${what}.`;
    this.banner.show({ title, lines: [`${text(error)}`, fixOf(error)] });
  }

  private lost(error: unknown): void {
    const problem = error instanceof ApiError ? error : new ApiError(String(error), '', 'away');
    const again = (): void => void this.poll.refresh();
    this.empty.hide();
    if (problem.kind === 'missing') {
      const line = problem.line;
      const buttons = [
        ...(line ? [{ text: 'Copy the line', onClick: (pressed: HTMLButtonElement) => void copy(line, pressed) }] : []),
        { text: 'Try again', onClick: again }
      ];
      this.banner.show({ title: problem.message, lines: [fixOf(problem)], buttons });
    } else {
      const since = this.lookedAt + this.clock;
      const shown = this.lookedAt ? `Shown is the state of ${clock(since)}` : '';
      const age = shown ? `, ${duration(Date.now() / 1000 - this.lookedAt)} ago.` : '';
      const goes = shown ? 'What runs goes on, and goes on costing money.' : fixOf(problem);
      this.banner.show({ title: problem.message, lines: [shown, goes], age, buttons: [{ text: 'Try now', onClick: again }] });
    }
    if (this.lookedAt) {
      this.node.dataset['stale'] = 'true';
      this.head.stale();
    }
  }

  private get now(): number {
    return Date.now() / 1000 + this.clock;
  }
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function fixOf(error: unknown): string {
  return error instanceof ApiError && error.fix ? `Fix: ${error.fix}` : '';
}
