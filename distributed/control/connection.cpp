#include "distributed/control/connection.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <system_error>
#include <utility>

#include "core/base/error.h"

namespace cohort::control {
namespace {

constexpr size_t kMostUnsent = 64;  // messages
constexpr size_t kMostAddresses = 16;

std::string error_text(int code) { return std::generic_category().message(code); }

/// An address as the socket calls want it.
struct Endpoint {
  sockaddr_storage storage{};
  socklen_t length = 0;
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

Endpoint any_address(int family) {
  Endpoint any;
  if (family == AF_INET6) {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&any.storage);
    v6->sin6_family = AF_INET6, v6->sin6_addr = in6addr_any;
    any.length = sizeof *v6;
  } else {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&any.storage);
    v4->sin_family = AF_INET, v4->sin_addr.s_addr = htonl(INADDR_ANY);
    any.length = sizeof *v4;
  }
  return any;
}

Descriptor listen_on(int family) {
  Descriptor socket(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.is_open()) return socket;
  const int off = 0;
  if (family == AF_INET6) setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  Endpoint any = any_address(family);
  if (bind(socket.get(), any.get(), any.length) != 0 || listen(socket.get(), SOMAXCONN) != 0) return Descriptor();
  return socket;
}

}  // namespace

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

Descriptor::~Descriptor() {
  if (fd_ >= 0) close(fd_);
}

Descriptor listen_anywhere() {
  Descriptor socket = listen_on(AF_INET6);
  if (!socket.is_open()) socket = listen_on(AF_INET);
  if (!socket.is_open()) throw Fault("control channel: no port to listen on: " + error_text(errno));
  return socket;
}

uint16_t port_of(const Descriptor& listening) {
  Endpoint bound;
  bound.length = sizeof bound.storage;
  if (getsockname(listening.get(), bound.get(), &bound.length) != 0) throw Fault("getsockname: " + error_text(errno));
  return ntohs(bound.storage.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&bound.storage)->sin6_port
                                                   : reinterpret_cast<sockaddr_in*>(&bound.storage)->sin_port);
}

std::vector<std::string> own_addresses() {
  std::vector<std::string> addresses;
  ifaddrs* first = nullptr;
  if (getifaddrs(&first) != 0) return addresses;
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> list(first, freeifaddrs);
  for (const ifaddrs* i = first; i != nullptr && addresses.size() < kMostAddresses; i = i->ifa_next) {
    if (i->ifa_addr == nullptr || (i->ifa_flags & IFF_UP) == 0 || (i->ifa_flags & IFF_LOOPBACK) != 0) continue;
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (i->ifa_addr->sa_family == AF_INET) {
      inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(i->ifa_addr)->sin_addr, text.data(), text.size());
    } else if (i->ifa_addr->sa_family == AF_INET6) {
      const in6_addr& address = reinterpret_cast<const sockaddr_in6*>(i->ifa_addr)->sin6_addr;
      if (IN6_IS_ADDR_LINKLOCAL(&address)) continue;
      inet_ntop(AF_INET6, &address, text.data(), text.size());
    }
    if (text[0] != '\0') addresses.emplace_back(text.data());
  }
  return addresses;
}

Descriptor connect_to(const std::string& address, uint16_t port, double seconds, std::string& problem) {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int code = getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &found); code != 0) {
    problem = gai_strerror(code);
    return Descriptor();
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> list(found, freeaddrinfo);
  Descriptor socket(::socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  int error = 0;
  if (!socket.is_open() || (connect(socket.get(), found->ai_addr, found->ai_addrlen) != 0 && errno != EINPROGRESS)) error = errno;
  if (error == 0) {
    pollfd waiting{socket.get(), POLLOUT, 0};
    if (poll(&waiting, 1, static_cast<int>(seconds * 1000)) <= 0) error = ETIMEDOUT;
  }
  socklen_t size = sizeof error;
  if (error == 0) getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error == 0) return socket;
  problem = error_text(error);
  return Descriptor();
}

Connection::Connection(Descriptor socket) : socket_(std::move(socket)) {
  const int on = 1;
  setsockopt(fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

bool Connection::part() {
  if (!flush()) return false;
  if (outgoing_.empty()) shutdown(fd(), SHUT_WR);
  Message ignored;
  while (true) {
    const Received received = receive(ignored);
    if (received != Received::kMessage) return received == Received::kNothing;
  }
}

bool Connection::send(const Message& message) {
  if (outgoing_.size() >= kMostUnsent) return false;
  outgoing_.push_back(message);
  return flush();
}

bool Connection::flush() {
  while (!outgoing_.empty()) {
    const char* bytes = reinterpret_cast<const char*>(&outgoing_.front());
    const ssize_t count = ::send(fd(), bytes + sent_, sizeof(Message) - sent_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
    sent_ += static_cast<size_t>(count);
    if (sent_ == sizeof(Message)) outgoing_.pop_front(), sent_ = 0;
  }
  return true;
}

Connection::Received Connection::receive(Message& message) {
  while (received_ < incoming_.size()) {
    const ssize_t count = recv(fd(), incoming_.data() + received_, incoming_.size() - received_, MSG_DONTWAIT);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return Received::kNothing;
    if (count <= 0) return Received::kClosed;
    received_ += static_cast<size_t>(count);
  }
  std::memcpy(static_cast<void*>(&message), incoming_.data(), sizeof message);
  received_ = 0;
  return Received::kMessage;
}

}  // namespace cohort::control
