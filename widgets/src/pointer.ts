// A click is meant for what was under the pointer when the pointer came to rest there. Where the list has moved since,
// as it does when a row opens or a question is answered, the click would hit another thing: it is not let through.

const CONTROL = 'button, a, input, summary';
// Between the presses of a double click the pointer may tremble, and move as far as that.
const STILL_PX = 3;
const DOUBLE_PX = 24;
const DOUBLE_MS = 500;
// So long after a click that was not let through the next one is none either: it may be the second of two.
const QUIET_MS = 800;

interface Spot {
  x: number;
  y: number;
  control: Element | null;
}

export class RestingPointer {
  private rest: Spot | undefined;
  private clicked: (Spot & { at: number }) | undefined;
  private dropped: (Spot & { at: number }) | undefined;

  constructor(node: HTMLElement) {
    node.addEventListener('pointermove', event => this.moved(event), true);
    node.addEventListener('wheel', () => (this.rest = undefined), { capture: true, passive: true });
    node.addEventListener('click', event => this.judge(event), true);
  }

  /** Whether it is over that part of the panel. */
  isOver(part: HTMLElement): boolean {
    return part.matches(':hover');
  }

  private moved(event: PointerEvent): void {
    // A browser reports a move of nothing when the page moves under a pointer that rests.
    if (!this.rest || distance(this.rest, event) > STILL_PX) {
      this.rest = spot(event);
    }
  }

  private judge(event: MouseEvent): void {
    if (event.detail === 0) {
      return; // a key, or a program that reads the screen
    }
    const now = performance.now();
    const found = spot(event);
    if (this.isMeant(found, now)) {
      this.rest = found;
      this.clicked = { ...found, at: now };
      return;
    }
    event.preventDefault();
    event.stopImmediatePropagation();
    this.rest = found;
    this.dropped = { ...found, at: now };
  }

  private isMeant(found: Spot, now: number): boolean {
    if (!found.control) {
      return true; // it presses nothing
    }
    const { rest, clicked, dropped } = this;
    if (clicked?.control === found.control && now - clicked.at < DOUBLE_MS) {
      return true; // the very same again
    }
    if (isSecond(clicked, found, now, DOUBLE_MS) || isSecond(dropped, found, now, QUIET_MS)) {
      return false;
    }
    return !rest || distance(rest, found) > STILL_PX || rest.control === found.control;
  }
}

function isSecond(first: (Spot & { at: number }) | undefined, found: Spot, now: number, within: number): boolean {
  return first !== undefined && now - first.at < within && distance(first, found) < DOUBLE_PX;
}

function spot(event: MouseEvent): Spot {
  const target = event.target instanceof Element ? event.target.closest(CONTROL) : null;
  return { x: event.clientX, y: event.clientY, control: target };
}

function distance(a: Spot, b: { x: number; y: number }): number {
  return Math.hypot(a.x - b.x, a.y - b.y);
}
