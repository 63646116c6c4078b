// moe completion: shell completions, read off the program's own subcommands and options.

#include <iostream>

#include <moe/base/error.h>

#include "tools/moe/command.h"

namespace moe::tools {

namespace {

/// One place of the tree: "moe", "moe bench", … and what may follow it.
struct Node {
  std::string path;
  std::vector<std::pair<std::string, std::string>> subcommands;  // name, help
  std::vector<std::pair<std::string, std::string>> options;      // "--name", help
};

void walk(const CLI::App& app, const std::string& path, std::vector<Node>& nodes) {
  Node node{path, {}, {}};
  for (const auto* option : app.get_options())
    for (const auto& name : option->get_lnames())
      node.options.emplace_back("--" + name, option->get_description());
  const auto subcommands = app.get_subcommands([](const CLI::App*) { return true; });
  for (const auto* sub : subcommands)
    node.subcommands.emplace_back(sub->get_name(), sub->get_description());
  nodes.push_back(std::move(node));
  for (const auto* sub : subcommands) walk(*sub, path + ' ' + sub->get_name(), nodes);
}

/// `text` between single quotes.
std::string single_quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::string words(const Node& node) {
  std::string out;
  for (const auto* list : {&node.subcommands, &node.options})
    for (const auto& [name, help] : *list) out += (out.empty() ? "" : " ") + name;
  return out;
}

/// bash and zsh (through its bashcompinit) share one function: the words typed so far that are
/// subcommands name the node.
std::string bash_script(const std::vector<Node>& nodes) {
  std::string out =
      "_moe() {\n"
      "  local path=moe word\n"
      "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
      "    case \"$path $word\" in\n";
  for (const auto& node : nodes)
    if (node.path != "moe")
      out += "      " + single_quoted(node.path) + ") path=\"$path $word\" ;;\n";
  out += "    esac\n  done\n  local words=\n  case \"$path\" in\n";
  for (const auto& node : nodes)
    out += "    " + single_quoted(node.path) + ") words=" + single_quoted(words(node)) + " ;;\n";
  out +=
      "  esac\n"
      "  COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
      "}\n"
      "complete -o default -F _moe moe\n";
  return out;
}

std::string zsh_script(const std::vector<Node>& nodes) {
  return "autoload -U +X bashcompinit && bashcompinit\n" + bash_script(nodes);
}

std::string fish_script(const std::vector<Node>& nodes) {
  std::string out =
      "function __moe_at\n"
      "  set -l path moe\n"
      "  for word in (commandline -opc)[2..-1]\n"
      "    switch \"$path $word\"\n"
      "      case";
  for (const auto& node : nodes)
    if (node.path != "moe") out += ' ' + single_quoted(node.path);
  out +=
      "\n        set path \"$path $word\"\n    end\n  end\n"
      "  test \"$path\" = \"$argv[1]\"\nend\n";
  for (const auto& node : nodes) {
    const std::string start = "complete -c moe -n \"__moe_at " + single_quoted(node.path) + "\" ";
    for (const auto& [name, help] : node.subcommands)
      out += start + "-f -a " + name + " -d " + single_quoted(help) + '\n';
    for (const auto& [name, help] : node.options)
      out += start + "-l " + name.substr(2) + " -d " + single_quoted(help) + '\n';
  }
  return out;
}

}  // namespace

void add_completion(CLI::App& program, Session& session) {
  CLI::App& app = add_group(program, "completion", "Prints completions for a shell.",
                            "source <(moe completion bash)");
  app.require_subcommand(0);
  const auto shell = std::make_shared<std::string>();
  app.add_option("SHELL", *shell, "bash, zsh or fish")->required();
  app.callback([&program, &session, shell] {
    session.run = [&program, shell] {
      check_one_of("completion", "SHELL", *shell, {"bash", "zsh", "fish"});
      std::vector<Node> nodes;
      walk(program, "moe", nodes);
      const auto script = *shell == "bash"  ? bash_script
                          : *shell == "zsh" ? zsh_script
                                            : fish_script;
      std::cout << script(nodes);
      return 0;
    };
  });
}

}  // namespace moe::tools
