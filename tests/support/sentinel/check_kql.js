// Judges KQL with Microsoft's own parser: node check_kql.js <folder of @kusto/language-service-next> < questions.json
//
// Questions: [{name, tables: {table: "(column: type, ...)"}, text}]. Answers, by name: what is wrong, the columns of the
// result with their types, and the functions, operators and columns of tables that the text uses.
const folder = process.argv[2];
require(`${folder}/bridge.min.js`);
require(`${folder}/Kusto.Language.Bridge.min.js`);
const { Language } = globalThis.Kusto;
const { Symbols } = Language;

function items(list) {
  return list ? Array.from({ length: list.Count }, (_, number) => list.getItem(number)) : [];
}

function walk(node, seen, columns) {
  if (!node) return;
  const kind = node.constructor.$$name || '';
  if (/Syntax\.\w+Operator$/.test(kind)) seen.operators.add(kind.split('.').pop());
  const symbol = node.ReferencedSymbol;
  const type = (symbol && symbol.constructor.$$name) || '';
  if (type.endsWith('.FunctionSymbol')) seen.functions.add(symbol.Name);
  if (type.endsWith('.ColumnSymbol') && columns.has(symbol.Name)) seen.columns.add(symbol.Name);
  if (type.endsWith('.TableSymbol') && symbol.Name) seen.tables.add(symbol.Name);
  for (let number = 0; number < (node.ChildCount || 0); number += 1) walk(node.GetChild(number), seen, columns);
}

function judge({ tables, text }) {
  const known = Object.entries(tables).map(([name, schema]) => Symbols.TableSymbol.From(schema).WithName(name));
  const database = new Symbols.DatabaseSymbol.ctor('workspace', known, false);
  const code = Language.KustoCode.ParseAndAnalyze(text, Language.GlobalState.Default.WithDatabase(database));
  const columns = new Set(known.flatMap((table) => items(table.Columns).map((column) => column.Name)));
  const seen = { functions: new Set(), operators: new Set(), columns: new Set(), tables: new Set() };
  walk(code.Syntax, seen, columns);
  const result = code.ResultType && code.ResultType.Columns;
  return {
    wrong: items(code.GetDiagnostics()).map((problem) => problem.Message),
    result: Object.fromEntries(items(result).map((column) => [column.Name, column.Type.Name])),
    ...Object.fromEntries(Object.entries(seen).map(([name, words]) => [name, [...words].sort()])),
  };
}

const questions = JSON.parse(require('fs').readFileSync(0, 'utf8'));
process.stdout.write(JSON.stringify(Object.fromEntries(questions.map((question) => [question.name, judge(question)]))));
