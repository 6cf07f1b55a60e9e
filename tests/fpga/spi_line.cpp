// The SPI slave alone between a master whose edges fall anywhere between those of the clock, and a device with replies to send.
//   program SEED HIGH LOW      ticks that each half of sck lasts; a clock has 24
// Says nothing and ends with 0 when every byte arrives on both sides; else says the first that does not, and ends with 1.
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <random>
#include <string>
#include <vector>

#include "Vspi_slave.h"
#include "verilated.h"

extern "C" FILE* __real_fopen(const char*, const char*);
extern "C" FILE* __wrap_fopen(const char* name, const char* mode) { return __real_fopen(name, mode); }  // the linker asks for it

namespace {
constexpr int CLOCK = 24, BYTES = 4'000;
Vspi_slave pins;
std::mt19937 draw;
int high, low;
long tick;

int below(int n) { return static_cast<int>(draw() % static_cast<unsigned>(n)); }

[[noreturn]] void wrong(const std::string& what, size_t at, int expected, int found) {
    std::printf("%s, byte %zu: expected %02x, found %02x\n", what.c_str(), at, expected, found);
    std::exit(1);
}

// The device: replies of several bytes, each with a pause before it and two clocks between its bytes.
struct Byte {
    int value;
    bool last;
};
std::vector<Byte> replies;  // all that the device has given to the slave
std::deque<Byte> reply;     // what is still to be given of this one
int settles, pause;
std::vector<int> heard;     // what the slave has given to the device

void device(bool taken) {
    if (pins.r_valid) heard.push_back(pins.r_data);
    if (taken) {
        replies.push_back(reply.front());
        reply.pop_front();
        settles = 2;
        if (reply.empty()) pause = below(900);
    }
    if (reply.empty() && pause-- <= 0) {
        reply.push_back({0x5A, false});
        for (int k = 1 + below(9); k; --k) reply.push_back({below(256), k == 1});
    }
    pins.t_valid = !reply.empty() && settles-- <= 0;
    pins.t_data = reply.empty() ? 0 : static_cast<unsigned char>(reply.front().value);
}

void clock() {
    pins.eval();
    const bool taken = pins.t_valid && pins.t_ready;
    pins.clk = 1;
    pins.eval();
    device(taken);
    pins.clk = 0;
    pins.eval();
}

void run(int ticks) {
    for (; ticks; --ticks)
        if (++tick % CLOCK == 0) clock();
}

// The master: bits of one byte, all or the first few; gives what it read.
std::vector<int> sent;

int exchange(int value, int bits) {
    int read = 0;
    for (int k = 7; k > 7 - bits; --k) {
        pins.mosi = value >> k & 1;
        run(low);
        read = read << 1 | pins.miso;
        pins.sck = 1;
        run(high);
        pins.sck = 0;
    }
    if (bits == 8) sent.push_back(value);
    return read;
}

// Where the master is in the device's replies.
size_t place;

void compare(int read, int bits, size_t at) {
    const bool inside = place && !replies[place - 1].last;
    if (!inside && read == 0) return;  // 5A begins with 01
    const int next = place < replies.size() ? replies[place].value >> (8 - bits) : -1;
    if (read != next) wrong(inside ? "in a reply" : "before a reply", at, next, read);
    ++place;
}
}  // namespace

int main(int count, char** words) {
    if (count != 4) return std::fprintf(stderr, "usage: program SEED HIGH LOW\n"), 2;
    draw.seed(static_cast<unsigned>(std::atoi(words[1])));
    high = std::atoi(words[2]), low = std::atoi(words[3]);
    pins.clk = pins.sck = pins.mosi = 0;
    pins.cs_n = 1;
    run(4 * CLOCK);
    for (size_t at = 0; at < BYTES;) {
        pins.cs_n = 0;
        run(below(3 * CLOCK));
        for (int left = 1 + below(12); left; --left, ++at) {
            const int bits = below(8) ? 8 : 2 + below(6);
            compare(exchange(below(256), bits), bits, at);
            if (bits < 8) break;                    // cs_n rises in the middle of a byte
            if (below(4) == 0) run(below(90 * CLOCK));  // else the next byte follows at once
        }
        run(low);
        pins.cs_n = 1;
        run(low + below(30 * CLOCK));
    }
    if (heard.size() != sent.size()) wrong("bytes in all", 0, static_cast<int>(sent.size()), static_cast<int>(heard.size()));
    for (size_t at = 0; at < sent.size(); ++at)
        if (heard[at] != sent[at]) wrong("heard", at, sent[at], heard[at]);
    if (place < 500) wrong("bytes of replies", 0, 500, static_cast<int>(place));
    return 0;
}
