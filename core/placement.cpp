#include "core/placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <regex>

#include "core/error.h"
#include "core/text.h"

namespace kerf {
namespace {

// std::regex calls itself for each bracket; names of tensors have 63 bytes, and a pattern for them needs no more than this.
constexpr size_t kLongestPattern = 1024;

std::regex compile(const std::string& pattern, const std::string& origin) {
  if (pattern.size() > kLongestPattern)
    throw Error(ErrorKind::usage, fmt::format("a pattern has {} bytes, {} are allowed", pattern.size(), kLongestPattern), origin);
  try {
    return std::regex(pattern, std::regex::ECMAScript | std::regex::optimize);
  } catch (const std::regex_error& e) {
    throw Error(ErrorKind::usage, fmt::format("\"{}\" is no regular expression ({})", printable(pattern), e.what()), origin);
  }
}

std::string_view trimmed(std::string_view s) {
  const auto first = s.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return s.substr(first, s.find_last_not_of(" \t\r") - first + 1);
}

}  // namespace

std::function<bool(const std::string&)> name_matcher(const std::string& pattern, const std::string& origin) {
  return [regex = compile(pattern, origin)](const std::string& name) { return std::regex_search(name, regex); };
}

std::vector<Rule> parse_rules(std::string_view text, const std::string& path) {
  std::vector<Rule> rules;
  uint64_t offset = 0;
  for (int line = 1; !text.empty() || offset == 0; ++line) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view body = trimmed(text.substr(0, std::min(end, text.find('#'))));
    if (!body.empty()) {
      const size_t gap = body.find_last_of(" \t");
      if (gap == std::string_view::npos)
        throw FileError({.path = path,
                         .offset = offset,
                         .field = fmt::format("line {}", line),
                         .expected = "PATTERN DEVICE",
                         .found = "\"" + printable(body) + "\""});
      Rule rule{.pattern = std::string(trimmed(body.substr(0, gap))),
                .device = std::string(body.substr(gap + 1)),
                .origin = fmt::format("{}:{}", printable(path), line)};
      try {
        compile(rule.pattern, rule.origin);
      } catch (const Error& e) {
        throw FileError(
            {.path = path, .offset = offset, .field = fmt::format("line {}", line), .expected = "a regular expression", .found = e.message});
      }
      rules.push_back(std::move(rule));
    }
    const size_t skip = std::min(end + 1, text.size());
    offset += skip;
    text.remove_prefix(skip);
    if (text.empty()) break;
  }
  return rules;
}

std::vector<Rule> parse_override(std::string_view text) {
  std::vector<Rule> rules;
  while (!text.empty()) {
    const size_t end = std::min(text.find(','), text.size());
    const std::string_view part = text.substr(0, end);
    const size_t equals = part.rfind('=');
    if (equals == std::string_view::npos || equals == 0 || equals + 1 == part.size())
      throw Error(ErrorKind::usage, fmt::format("expected REGEX=DEVICE, got \"{}\"", printable(part)), "-ot");
    rules.push_back({.pattern = std::string(part.substr(0, equals)), .device = std::string(part.substr(equals + 1)), .origin = "-ot"});
    compile(rules.back().pattern, rules.back().origin);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return rules;
}

std::vector<Rule> layer_rules(int64_t n_layer, int64_t n, const std::vector<DeviceId>& devices, const std::vector<double>& tensor_split) {
  std::vector<Rule> rules;
  n = std::min(n, n_layer + 1);
  if (n <= 0) return rules;
  if (devices.empty()) throw Error(ErrorKind::usage, "-ngl needs a device", "-ngl", "add --device, for example pretend:0=4GiB");
  std::vector<double> share = tensor_split.empty() ? std::vector<double>(devices.size(), 1.0) : tensor_split;
  const double sum = std::accumulate(share.begin(), share.end(), 0.0);
  if (share.size() != devices.size() || !(sum > 0) || std::any_of(share.begin(), share.end(), [](double s) { return s < 0; }))
    throw Error(ErrorKind::usage, fmt::format("expected {} shares >= 0, one per device, not all 0", devices.size()), "--tensor-split");
  const int64_t first = n_layer + 1 - n;
  for (int64_t unit = first; unit <= n_layer; ++unit) {  // unit n_layer is the output head
    double below = 0;
    size_t d = 0;
    for (; d + 1 < devices.size(); ++d) {
      below += share[d];
      if (static_cast<double>(unit - first) < static_cast<double>(n) * below / sum) break;
    }
    while (share[d] == 0 && d > 0) --d;
    rules.push_back({.pattern = unit < n_layer ? fmt::format(R"((^|\.)blk\.{}\.)", unit) : R"(^output(_norm)?\.)",
                     .device = devices[d],
                     .origin = fmt::format("-ngl {}", n)});
  }
  return rules;
}

std::vector<Rule> expert_rules(int64_t n_layer, std::optional<int64_t> n) {
  constexpr std::string_view kExperts = R"(\.ffn_(gate|up|down|gate_up)_exps\.)";
  if (!n) return {{.pattern = std::string(kExperts), .device = kHost, .origin = "--cpu-moe"}};
  std::vector<Rule> rules;
  for (int64_t l = 0; l < std::min(*n, n_layer); ++l)
    rules.push_back({.pattern = fmt::format(R"(^blk\.{}{})", l, kExperts), .device = kHost, .origin = fmt::format("--n-cpu-moe {}", *n)});
  return rules;
}

const Home& Placement::of(std::string_view name) const {
  for (const auto& home : homes)
    if (home.name == name) return home;
  throw Error(ErrorKind::runtime, fmt::format("\"{}\" has no home in this placement", printable(name)));
}

Placement place(const Graph& graph, const std::vector<Rule>& rules, const std::vector<DeviceId>& devices) {
  std::vector<std::function<bool(const std::string&)>> matches;
  for (const auto& rule : rules) {
    if (std::find(devices.begin(), devices.end(), rule.device) == devices.end())
      throw Error(ErrorKind::usage, fmt::format("there is no device \"{}\"", printable(rule.device)), rule.origin,
                  fmt::format("devices of this run: {}", fmt::join(devices, ", ")));
    matches.push_back(name_matcher(rule.pattern, rule.origin));
  }
  Placement placement;
  for (const auto& value : graph.values()) {
    if (value.kind != Kind::weight && value.kind != Kind::state) continue;
    Home home{.name = value.name, .kind = value.kind, .desc = value.desc, .device = kHost, .because = "default", .stored = value.desc.dtype};
    for (size_t i = 0; i < rules.size(); ++i)
      if (matches[i](value.name)) {
        home.device = rules[i].device;
        home.because = fmt::format("{}: {}", rules[i].origin, rules[i].pattern);
        break;
      }
    placement.homes.push_back(std::move(home));
  }
  return placement;
}

}  // namespace kerf
