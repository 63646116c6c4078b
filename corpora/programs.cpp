#include <corpora/domains.h>
#include <corpora/toy_program.h>
#include <moe/base/error.h>

namespace moe::corpora {

namespace toy {

namespace {

// Draws that share a statement are named first: the order in which a call's arguments are evaluated
// is the compiler's.

// Variables of a program by index; what they are called is drawn afterwards.
constexpr int64_t kA = 0, kB = 1, kC = 2, kI = 3, kJ = 4;

Expression drawn_number(Draw& draw, int64_t low, int64_t high) {
  return number(draw.between(low, high));
}

std::string drawn_operator(Draw& draw) {
  constexpr const char* kOperators[] = {"+", "+", "-", "*"};
  return draw.pick(kOperators);
}

Program straight_line(Draw& draw) {
  Program p = {assign(kA, drawn_number(draw, 2, 30)), assign(kB, drawn_number(draw, 2, 12)),
               assign(kC, binary(variable(kA), drawn_operator(draw), variable(kB)))};
  if (draw.chance(50)) {
    const std::string symbol = drawn_operator(draw);
    p.push_back(assign(kA, binary(variable(kC), symbol, drawn_number(draw, 2, 9))));
  }
  p.push_back(draw.chance(50) ? print({variable(kA), variable(kC)})
                              : print({variable(kC)}, "result"));
  if (draw.chance(40))
    p.push_back(print({binary(variable(kA), drawn_operator(draw), variable(kB))}));
  return p;
}

Program sum_of_range(Draw& draw) {
  const int64_t from = draw.between(1, 6);
  Expression term = variable(kI);
  if (draw.chance(60)) {
    const char* symbol = draw.chance(50) ? "*" : "+";
    term = binary(variable(kI), symbol, drawn_number(draw, 2, 9));
  }
  std::vector<Statement> body = {assign(kA, binary(variable(kA), "+", std::move(term)))};
  if (draw.chance(50)) body.push_back(print({variable(kI), variable(kA)}));
  return {assign(kA, drawn_number(draw, 0, 9)),
          for_range(kI, number(from), number(from + draw.between(3, 7)), std::move(body)),
          print({variable(kA)}, draw.chance(50) ? "total" : "sum")};
}

Program countdown(Draw& draw) {
  const int64_t from = draw.between(6, 40), to = draw.between(0, 5), step = draw.between(2, 9);
  return {assign(kA, number(from)),
          while_loop(binary(variable(kA), ">", number(to)),
                     {print({variable(kA)}), assign(kA, binary(variable(kA), "-", number(step)))}),
          print({variable(kA)}, draw.chance(50) ? "done" : "end")};
}

Program growth(Draw& draw) {
  const int64_t from = draw.between(1, 9), bound = draw.between(30, 400),
                factor = draw.between(2, 4);
  return {assign(kA, number(from)), assign(kB, number(0)),
          while_loop(binary(variable(kA), "<", number(bound)),
                     {assign(kA, binary(variable(kA), "*", number(factor))),
                      assign(kB, binary(variable(kB), "+", number(1)))}),
          print({variable(kA), variable(kB)})};
}

Program larger_of_two(Draw& draw) {
  const bool less = draw.chance(40);
  return {assign(kA, drawn_number(draw, 1, 60)), assign(kB, drawn_number(draw, 1, 60)),
          if_then(binary(variable(kA), less ? "<" : ">", variable(kB)),
                  {print({variable(kA)}, less ? "smaller" : "larger")},
                  {print({variable(kB)}, less ? "not smaller" : "not larger"),
                   print({binary(variable(kB), "-", variable(kA))})})};
}

Program count_multiples(Draw& draw) {
  const int64_t divisor = draw.between(2, 5);
  const int64_t from = draw.between(1, 20);
  const int64_t count = draw.between(4, 14), remainder = draw.between(0, divisor - 1);
  std::vector<Statement> hit = {assign(kA, binary(variable(kA), "+", number(1)))};
  if (draw.chance(60)) hit.push_back(print({variable(kI)}));
  return {assign(kA, number(0)),
          for_range(
              kI, number(from), number(from + count),
              {if_then(binary(binary(variable(kI), "%", number(divisor)), "==", number(remainder)),
                       std::move(hit))}),
          print({variable(kA)}, "count")};
}

Program fibonacci_like(Draw& draw) {
  return {assign(kA, drawn_number(draw, 0, 9)), assign(kB, drawn_number(draw, 1, 9)),
          for_range(kI, number(0), drawn_number(draw, 3, 8),
                    {print({variable(kA)}), assign(kC, binary(variable(kA), "+", variable(kB))),
                     assign(kA, variable(kB)), assign(kB, variable(kC))})};
}

Program multiplication_table(Draw& draw) {
  const int64_t row = draw.between(1, 12), column = draw.between(1, 9);
  const int64_t rows = draw.between(1, 3), columns = draw.between(1, 3);
  return {for_range(
      kI, number(row), number(row + rows),
      {for_range(kJ, number(column), number(column + columns),
                 {print({variable(kI), variable(kJ), binary(variable(kI), "*", variable(kJ))})})})};
}

Program digit_sum(Draw& draw) {
  return {assign(kA, drawn_number(draw, 12, 9999)), assign(kB, number(0)),
          while_loop(binary(variable(kA), ">", number(0)),
                     {assign(kB, binary(variable(kB), "+", binary(variable(kA), "%", number(10)))),
                      assign(kA, binary(variable(kA), "//", number(10)))}),
          print({variable(kB)}, "digits add up to")};
}

Program greatest_divisor(Draw& draw) {
  const int64_t common = draw.between(1, 9);
  return {assign(kA, number(common * draw.between(2, 15))),
          assign(kB, number(common * draw.between(2, 9))),
          while_loop(binary(variable(kB), "!=", number(0)),
                     {assign(kC, binary(variable(kA), "%", variable(kB))), assign(kA, variable(kB)),
                      assign(kB, variable(kC))}),
          print({variable(kA)}, "divisor")};
}

Program halve_or_triple(Draw& draw) {
  return {assign(kA, drawn_number(draw, 2, 60)), assign(kB, number(0)),
          while_loop(
              binary(variable(kA), "!=", number(1)),
              {if_then(binary(binary(variable(kA), "%", number(2)), "==", number(0)),
                       {assign(kA, binary(variable(kA), "//", number(2)))},
                       {assign(kA, binary(binary(variable(kA), "*", number(3)), "+", number(1)))}),
               assign(kB, binary(variable(kB), "+", number(1)))}),
          print({variable(kB)}, "steps")};
}

Program remainder_cases(Draw& draw) {
  const int64_t divisor = draw.between(3, 9);
  return {
      assign(kA, drawn_number(draw, 10, 99)),
      assign(kB, binary(variable(kA), "%", number(divisor))),
      if_then(binary(variable(kB), "==", number(0)), {print({variable(kA)}, "divides evenly")},
              {print({variable(kB)}, "remainder"),
               assign(kA, binary(variable(kA), "+", binary(number(divisor), "-", variable(kB)))),
               print({variable(kA)}, "next")})};
}

/// Five different names, for kA, kB, kC, kI, kJ.
std::vector<std::string> draw_variable_names(Draw& draw) {
  constexpr const char* kNames[][3] = {{"a", "b", "c"},
                                       {"x", "y", "z"},
                                       {"n", "m", "k"},
                                       {"total", "value", "next"},
                                       {"first", "second", "third"},
                                       {"p", "q", "r"}};
  const auto& names = draw.pick(kNames);
  const bool long_loops = draw.chance(30);
  return {names[0], names[1], names[2], long_loops ? "row" : "i", long_loops ? "col" : "j"};
}

std::string drawn_program(Draw& draw) {
  using Shape = Program (*)(Draw&);
  constexpr Shape kShapes[] = {straight_line,   straight_line,    sum_of_range,
                               countdown,       growth,           larger_of_two,
                               count_multiples, fibonacci_like,   multiplication_table,
                               digit_sum,       greatest_divisor, halve_or_triple,
                               remainder_cases};
  const std::vector<std::string> plain = {"a", "b", "c", "i", "j"};
  std::optional<std::string> output;
  Program program;
  do {
    program = draw.until_wanted([&] { return draw.pick(kShapes)(draw); },
                                [&](const Program& p) { return source(p, plain); });
    output = run(program);
  } while (!output);
  const auto names = draw_variable_names(draw);
  return concat("# program\n", source(program, names), "\n# prints\n", *output);
}

}  // namespace

}  // namespace toy

std::string program_with_output(Draw& draw) {
  return toy::drawn_program(draw);
}

}  // namespace moe::corpora
