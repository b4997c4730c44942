#pragma once
/// Sockets that move control messages. Nothing here blocks; no memory depends on what arrives.

#include <array>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "distributed/control/message.h"

namespace cohort::control {

/// A file descriptor that closes itself. Move only.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor();
  int get() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }

 private:
  int fd_;
};

/// Listens on a free port of all interfaces, for IPv6 and IPv4 where the machine has both. Fault when it cannot.
Descriptor listen_anywhere();
uint16_t port_of(const Descriptor& listening);

/// Numeric addresses of this machine's interfaces that are up, without loopback and link-local ones; at most 16.
std::vector<std::string> own_addresses();

/// A connection to a numeric address, made within `seconds`. Not open, with the reason in `problem`, when that fails.
Descriptor connect_to(const std::string& address, uint16_t port, double seconds, std::string& problem);

class Connection {
 public:
  /// Turns off Nagle's delay: a message is one write, and somebody waits for it.
  explicit Connection(Descriptor socket);

  int fd() const { return socket_.get(); }
  /// Sends, or keeps what does not fit into the socket for flush(). False: the peer is gone, or has left 64 messages unread.
  bool send(const Message& message);
  bool flush();
  bool waits_to_send() const { return !outgoing_.empty(); }
  /// Sends what is left, then the end of the stream, and throws away what comes. False when the peer has closed too: call it until then.
  bool part();

  enum class Received { kNothing, kMessage, kClosed };
  /// The next whole message, if one has come.
  Received receive(Message& message);

 private:
  Descriptor socket_;
  std::deque<Message> outgoing_;
  size_t sent_ = 0;  // bytes of the first outgoing message
  std::array<char, sizeof(Message)> incoming_{};
  size_t received_ = 0;
};

}  // namespace cohort::control
