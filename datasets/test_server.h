// A small HTTP server on the loopback for the tests of downloading: it says what a test tells it.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace oasis {

struct TestRequest {
  std::string path;
  std::int64_t range_start = -1;  // -1: no Range header
};

struct TestReply {
  int status = 200;
  std::string body = "";
  std::vector<std::string> headers = {};
  std::size_t cut_after = SIZE_MAX;  // bytes of the body after which the connection is closed
};

class TestServer {
 public:
  using Handler = std::function<TestReply(const TestRequest&)>;

  explicit TestServer(Handler handler) : handler_(std::move(handler)) {
    // The loopback is not for a proxy that the machine may have.
    setenv("no_proxy", "*", 1);
    listener_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (bind(listener_, generic, length) != 0 || listen(listener_, 8) != 0 ||
        getsockname(listener_, generic, &length) != 0) {
      throw std::runtime_error("no loopback socket");
    }
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~TestServer() {
    stop_ = true;
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
  }

  std::string url(const std::string& path) const {
    return "http://127.0.0.1:" + std::to_string(port_) + path;
  }

  std::vector<TestRequest> requests() const {
    const std::lock_guard guard(mutex_);
    return requests_;
  }

  // A file with Range support, as most servers have it.
  static TestReply file(const std::string& body, const TestRequest& request) {
    if (request.range_start < 0) return {200, body};
    const auto start = static_cast<std::size_t>(request.range_start);
    if (start >= body.size()) return {416, ""};
    return {206,
            body.substr(start),
            {"Content-Range: bytes " + std::to_string(start) + "-" +
             std::to_string(body.size() - 1) + "/" + std::to_string(body.size())}};
  }

 private:
  void serve() {
    while (!stop_) {
      const int connection = accept(listener_, nullptr, nullptr);
      if (connection < 0) return;
      std::string head;
      char buffer[4096];
      while (head.find("\r\n\r\n") == std::string::npos) {
        const auto got = recv(connection, buffer, sizeof(buffer), 0);
        if (got <= 0) break;
        head.append(buffer, static_cast<std::size_t>(got));
      }
      answer(connection, parse(head));
      close(connection);
    }
  }

  static TestRequest parse(const std::string& head) {
    TestRequest request;
    const auto start = head.find(' ') + 1;
    request.path = head.substr(start, head.find(' ', start) - start);
    const auto range = head.find("Range: bytes=");
    if (range != std::string::npos) request.range_start = std::atoll(head.c_str() + range + 13);
    return request;
  }

  void answer(int connection, const TestRequest& request) {
    {
      const std::lock_guard guard(mutex_);
      requests_.push_back(request);
    }
    const auto reply = handler_(request);
    std::string out = "HTTP/1.1 " + std::to_string(reply.status) + " x\r\nConnection: close\r\n" +
                      "Content-Length: " + std::to_string(reply.body.size()) + "\r\n";
    for (const auto& header : reply.headers) out += header + "\r\n";
    out += "\r\n" + reply.body.substr(0, std::min(reply.body.size(), reply.cut_after));
    for (std::size_t sent = 0; sent < out.size();) {
      const auto now = send(connection, out.data() + sent, out.size() - sent, MSG_NOSIGNAL);
      if (now <= 0) return;
      sent += static_cast<std::size_t>(now);
    }
  }

  Handler handler_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<bool> stop_ = false;
  mutable std::mutex mutex_;
  std::vector<TestRequest> requests_;
  std::thread thread_;
};

}  // namespace oasis
