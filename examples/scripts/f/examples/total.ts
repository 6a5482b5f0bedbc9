type Line = { price: number; quantity: number };

export async function main(lines: Line[], vat = 0.19) {
  const net = lines.reduce((sum, line) => sum + line.price * line.quantity, 0);
  console.log(`${lines.length} lines`);
  return { net, gross: Math.round(net * (1 + vat) * 100) / 100 };
}
