#include "experiments/ids.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "experiments/io.h"

namespace kerf {

std::vector<int32_t> read_ids(const std::string& path, int64_t below) {
  // Events instead of a document: nothing is built of a file that is something else, however deep or long.
  struct Reader final : nlohmann::json_sax<nlohmann::json> {
    int64_t below = 0;
    std::vector<int32_t> ids{};
    std::string found{};
    bool open = false;
    bool refuse(std::string what) {
      found = std::move(what);
      return false;
    }
    bool id(int64_t value) {
      if (!open || value < 0 || value >= below) return refuse(std::to_string(value));
      ids.push_back(static_cast<int32_t>(value));
      return true;
    }
    bool null() override { return refuse("null"); }
    bool boolean(bool) override { return refuse("a boolean"); }
    bool number_integer(int64_t value) override { return id(value); }
    bool number_unsigned(uint64_t value) override { return value > INT32_MAX ? refuse(std::to_string(value)) : id(static_cast<int64_t>(value)); }
    bool number_float(double value, const std::string&) override { return refuse(fmt::format("{}", value)); }
    bool string(std::string&) override { return refuse("a string"); }
    bool binary(binary_t&) override { return refuse("binary data"); }
    bool start_object(size_t) override { return refuse("an object"); }
    bool key(std::string&) override { return refuse("a key"); }
    bool end_object() override { return refuse("an object"); }
    bool start_array(size_t) override {
      if (open) return refuse("an array");
      return open = true;
    }
    bool end_array() override { return true; }
    bool parse_error(size_t at, const std::string&, const nlohmann::detail::exception&) override {
      return refuse(fmt::format("no JSON at byte {}", at));
    }
  } reader;
  reader.below = below;
  const std::string text = read_file(path);
  const bool ok = nlohmann::json::sax_parse(text, &reader);
  if (ok && !reader.open) reader.found = "no array";
  if (!ok || !reader.open)
    throw FileError({.path = path,
                     .field = fmt::format("token ids[{}]", reader.ids.size()),
                     .expected = fmt::format("a JSON array of integers 0..{}", below - 1),
                     .found = reader.found});
  return std::move(reader.ids);
}

}  // namespace kerf
