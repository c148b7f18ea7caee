// The side panel: what lives in the workspace or ended lately, what it costs, and a Stop that no kernel can delay.
//
//   api.ts      the REST of the server's half                     answers.ts  the shape of its answers
//   item.ts     what can be told of an item without a document: its section, its order, its line of facts
//   panel.ts    asks the server again and again, and does what was chosen
//   head.ts     workspace, count, price an hour, filter           trouble.ts  the banner below it
//   list.ts     sections and rows; nothing moves while somebody points at them
//   section.ts  a heading that closes, and its rows               row.ts      one thing, kept and updated
//   details.ts  what an opened row shows                          plan.ts     what a next run would do, below it
//   asking.ts   the question before an act
//   pointer.ts  no click hits what has moved under the pointer    empty.ts    what is shown where nothing runs
//   dom.ts, format.ts  elements, times and money
//
// How a state looks, what a thing shows and what is asked before an act is decided by the server; here only "stopping"
// is known, which is true from the press of the button on.

import { Poll } from '@lumino/polling';
import { Widget } from '@lumino/widgets';
import type { Item, Items } from './answers';
import { type Api, ApiError, isAway } from './api';
import { copy, element } from './dom';
import { Empty, type Host, insert } from './empty';
import { clock, duration } from './format';
import { Head } from './head';
import { asPerhapsStopping, asStopping, kind } from './item';
import { List } from './list';
import { RestingPointer } from './pointer';
import type { Row } from './row';
import { Banner, type Trouble } from './trouble';

const DETAILS_MS = 5000;

/** A Stop whose answer was lost: a look that is begun after it tells whether it arrived. */
interface LostStop {
  before: Item;
  shown: Item;
  why: string;
  look: number;
}

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
  private looks = 0;
  private away: Trouble | undefined; // nobody answers
  private notices: { item: Item; trouble: Trouble }[] = []; // not done; shown until the next press, or until it ends
  private readonly lost = new Map<string, LostStop>();
  private arrived: Item[] = [];
  private detailed = 0;
  private detailedAs = ''; // what the open row was when it was looked at

  constructor(
    private readonly api: Api,
    private readonly host: Host,
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

  plan(row: Row): void {
    void this.lookAhead(row);
  }

  insert(code: string, pressed: HTMLButtonElement): void {
    void insert(this.host, code, pressed);
  }

  // ---- looking ----

  protected override onAfterShow(): void {
    void this.poll.refresh();
  }

  protected override onActivateRequest(): void {
    this.head.heading.focus(); // Tab leads on into the list
  }

  private async fetch(): Promise<void> {
    const look = (this.looks += 1);
    try {
      const answer = await this.api.items(this.rev);
      if (look === this.looks) {
        this.take(answer);
      }
    } catch (error) {
      if (look !== this.looks) {
        return; // given up for a later one
      }
      this.lose(error);
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
    this.clock = answer.now === undefined ? 0 : answer.now - Date.now() / 1000;
    const fresh = this.list.take(answer.items, answer.gone ?? [], isEverything);
    if (answer.items.some(item => item.noun === 'gpu')) {
      this.host.listKernels(); // it would ask only once a minute
    }
    answer.signals?.forEach(signal => this.host.notify(signal));
    this.feed = answer.feed;
    this.rev = answer.rev;
    this.lookedAt = Date.now() / 1000;
    this.list.tick();
    this.arrived = isEverything ? [] : [...(this.list.isHeld ? this.arrived : []), ...fresh];
    this.away = undefined;
    this.settleLost();
    this.notices = this.notices.filter(({ item }) => isLiving(this.list.get(item.job)));
    this.say();
    this.node.removeAttribute('data-stale');
    this.head.show(answer, this.list.all.filter(item => item.is_live).length, this.list.size, this.now);
    this.tell();
    this.empty.show(answer, this.list.size === 0);
    this.lookAgain();
  }

  /** Learn from the latest look which Stops have not arrived; the others show by themselves. */
  private settleLost(): void {
    for (const [job, { before, shown, why, look }] of this.lost) {
      if (look < this.looks) {
        this.lost.delete(job);
        if (this.list.get(job) === shown) {
          this.list.show(before); // nothing was written since
          this.list.arrange();
        }
        if (this.list.get(job)?.stoppable) {
          this.refuse(before, new ApiError(`Its answer was lost: ${why}`, 'press Stop again.'));
        }
      }
    }
  }

  private say(): void {
    this.banner.show([...(this.away ? [this.away] : []), ...this.notices.map(notice => notice.trouble)]);
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
    this.detailed = Infinity; // no second look while this one waits
    this.detailedAs = stateOf(item);
    try {
      const details = await this.api.details(item);
      body?.show(row.offered, details);
    } catch (error) {
      if (body?.isEmpty) {
        body.complain(`${text(error)} ${fixOf(error)}`);
      }
    }
    this.detailed = performance.now();
  }

  /** Show what the next run would do: only when it is asked for, since that reads what the run would take. */
  private async lookAhead({ body, item }: Row): Promise<void> {
    if (!body || body.plan.isAwaited) {
      return;
    }
    body.plan.wait();
    try {
      const shown = await this.api.plan(item);
      body.plan.show(await this.host.draw(shown), clock(this.now));
    } catch (error) {
      body.plan.complain(text(error), error instanceof ApiError ? error.fix : '');
    }
  }

  /** Look closer again at the row that is open: after a while, unless the pointer is over rows that this might move, and
   * at once when it has become something else. */
  private lookAgain(): void {
    const row = this.list.openRow;
    const isOverOthers = row && this.pointer.isOver(this.list.node) && !this.pointer.isOver(row.node);
    const isDue = !isOverOthers && performance.now() - this.detailed >= DETAILS_MS;
    if (row && (isDue || stateOf(row.item) !== this.detailedAs)) {
      void this.look(row);
    }
  }

  // ---- acting ----

  private async stop(row: Row): Promise<void> {
    const before = row.item;
    const stopping = asStopping(before);
    this.notices = [];
    this.say();
    this.put(stopping);
    try {
      await this.api.stop(before);
    } catch (error) {
      const seen = this.list.get(before.job);
      const latest = seen === stopping ? before : seen; // a look may have told more meanwhile
      if (latest?.stoppable && isAway(error)) {
        const shown = asPerhapsStopping(latest);
        this.lost.set(latest.job, { before: latest, shown, why: text(error), look: this.looks });
        this.put(shown);
      } else if (latest?.stoppable) {
        this.put(latest);
        this.refuse(latest, error);
      }
    }
    void this.poll.refresh();
  }

  private put(item: Item): void {
    this.list.show(item);
    this.list.arrange();
    this.tell();
  }

  private async act(row: Row, verb: string): Promise<void> {
    const before = row.item;
    const title = before.actions.find(action => action.verb === verb)?.title ?? verb;
    const work = (how: string): void => row.working(`◐ ${title}: ${how}`, this.now);
    this.notices = [];
    this.say();
    work('under way');
    try {
      await this.api.act(before, verb, isInDoubt =>
        work(isInDoubt ? 'not known yet whether it was done; asked again' : 'under way')
      );
    } catch (error) {
      this.refuse(before, error, `${title}: ${isAway(error) ? 'not known whether it was done' : 'not done'}`);
    } finally {
      row.working('', this.now);
    }
    this.detailed = 0;
    void this.poll.refresh();
  }

  private refuse(item: Item, error: unknown, what = ''): void {
    const title = what || `${kind(item)} ${item.name} was not stopped`;
    this.notices.push({ item, trouble: { title: `${title}.`, lines: [text(error), fixOf(error)] } });
    this.say();
  }

  private lose(error: unknown): void {
    const problem = error instanceof ApiError ? error : new ApiError(String(error), '', 'away');
    const again = (): void => void this.poll.refresh();
    this.empty.hide();
    if (problem.kind === 'missing') {
      const line = problem.line;
      const buttons = [
        ...(line ? [{ text: 'Copy the line', onClick: (pressed: HTMLButtonElement) => void copy(line, pressed) }] : []),
        { text: 'Try again', onClick: again }
      ];
      this.away = { title: problem.message, lines: [fixOf(problem)], buttons };
    } else {
      const since = this.lookedAt + this.clock;
      const shown = this.lookedAt ? `Shown is the state of ${clock(since)}` : '';
      const age = shown ? `, ${duration(Date.now() / 1000 - this.lookedAt)} ago.` : '';
      const goes = shown ? 'What runs goes on, and goes on costing money.' : '';
      const lines = [shown, goes, fixOf(problem)];
      this.away = { title: problem.message, lines, age, buttons: [{ text: 'Try now', onClick: again }] };
    }
    this.say();
    if (this.lookedAt) {
      this.node.dataset['stale'] = 'true';
      this.head.stale();
    }
  }

  private get now(): number {
    return Date.now() / 1000 + this.clock;
  }
}

/** Whether it lives on as it was: what ends needs no word about what could not be done with it. */
function isLiving(item: Item | undefined): boolean {
  return item !== undefined && item.is_live && item.state !== 'stopping';
}

/** By what an answer about an item is known to be old. */
function stateOf(item: Item): string {
  return `${item.job} ${item.state} ${item.detail}`;
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function fixOf(error: unknown): string {
  return error instanceof ApiError && error.fix ? `Fix: ${error.fix}` : '';
}
