# Chat templates: a bounded interpreter of the Jinja that model files carry.
add_library(kerf_chat STATIC
  chat/chat_template.cpp chat/jinja_filters.cpp chat/jinja_interpreter.cpp chat/jinja_lexer.cpp chat/jinja_methods.cpp chat/jinja_parser.cpp chat/jinja_value.cpp)
target_link_libraries(kerf_chat PUBLIC kerf_core nlohmann_json::nlohmann_json)
