// What every picture on a canvas needs: the screen's own pixels, the style sheet's colours, and to be drawn again.

export interface Sheet {
  pen: CanvasRenderingContext2D;
  width: number;
  height: number;
  /** The value that one of the style sheet's colours has in the present scheme. */
  colour(name: string): string;
}

/** An empty sheet on a canvas; lengths are in CSS pixels. */
export function sheetOn(canvas: HTMLCanvasElement): Sheet {
  const { width, height } = canvas.getBoundingClientRect();
  const scale = devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const pen = canvas.getContext("2d")!;
  pen.scale(scale, scale);
  const colour = (name: string) => {
    canvas.style.color = `var(${name})`; // computed, unlike the variable itself, which may hold a light-dark()
    return getComputedStyle(canvas).color;
  };
  pen.font = `12px ${getComputedStyle(canvas).fontFamily}`;
  return { pen, width, height, colour };
}

/** Draw when the canvas gets another size or the colour scheme changes. */
export function redraw(canvas: HTMLCanvasElement, draw: () => void): void {
  new ResizeObserver(draw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
