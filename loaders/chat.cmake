# Chat templates: a bounded interpreter of the Jinja that model files carry.
add_library(kerf_chat STATIC
  chat_template.cpp jinja_filters.cpp jinja_interpreter.cpp jinja_lexer.cpp jinja_methods.cpp jinja_parser.cpp jinja_value.cpp)
target_link_libraries(kerf_chat PUBLIC kerf_core nlohmann_json::nlohmann_json)
