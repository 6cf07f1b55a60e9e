// The program around a Verilated design: requests on standard input, replies on standard output, as a board on a line.
//
// BOARD is the header with the class Board: how bytes reach the design. The clock runs only while there is something to do;
// otherwise the program blocks on reading. When the line is quiet for `--quiet-ms` after a byte, the clock runs on until the
// device's own timer has run out.
// Memory images are read from the end of this file, where they were appended (program.py), else from the working directory.
// `--cycles FILE` writes, for each reply, the clocks from the last byte of the request taken to the first byte offered.
// Ends with 0 at the end of the input, 2 for wrong arguments, 3 when the device hangs.
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include BOARD

extern "C" FILE* __real_fopen(const char* name, const char* mode);

namespace {

constexpr char MARK[] = "EDGELOOP-IMAGES\n";  // before the last eight bytes, which say where the images begin

std::map<std::string, std::string>& images() {
    static std::map<std::string, std::string> found;
    return found;
}

// Images behind the program: for each "name size\n" and its bytes; then MARK and the offset, least significant byte first.
void read_images() {
    FILE* self = __real_fopen("/proc/self/exe", "rb");
    if (!self) return;
    const size_t tail = sizeof MARK - 1 + 8;
    unsigned char end[sizeof MARK - 1 + 8];
    if (std::fseek(self, -static_cast<long>(tail), SEEK_END) == 0 && std::fread(end, 1, tail, self) == tail &&
        std::memcmp(end, MARK, sizeof MARK - 1) == 0) {
        uint64_t at = 0;
        for (int k = 7; k >= 0; --k) at = at << 8 | end[sizeof MARK - 1 + k];
        std::fseek(self, static_cast<long>(at), SEEK_SET);
        char name[128];
        unsigned long size;
        while (std::fscanf(self, "%127s %lu", name, &size) == 2 && std::fgetc(self) == '\n' && size < (64UL << 20)) {
            std::string text(size, '\0');
            if (std::fread(&text[0], 1, size, self) != size) break;
            images()[name] = text;
        }
    }
    std::fclose(self);
}

void flush(Board& board) {
    size_t done = 0;
    while (done < board.out.size()) {
        const ssize_t wrote = write(1, board.out.data() + done, board.out.size() - done);
        if (wrote < 0 && errno != EINTR) std::exit(0);  // nobody listens
        if (wrote > 0) done += static_cast<size_t>(wrote);
    }
    board.out.clear();
}

}  // namespace

// Verilator's $readmemh opens its files here (linked with --wrap=fopen).
extern "C" FILE* __wrap_fopen(const char* name, const char* mode) {
    const auto found = images().find(name);
    if (found == images().end()) return __real_fopen(name, mode);
    return fmemopen(const_cast<char*>(found->second.data()), found->second.size(), "r");
}

int main(int count, char** words) {
    int quiet_ms = 20;
    FILE* cycles = nullptr;
    for (int k = 1; k < count; k += 2) {
        const std::string word = words[k];
        if (k + 1 < count && word == "--quiet-ms") quiet_ms = std::atoi(words[k + 1]);
        else if (k + 1 < count && word == "--cycles") cycles = __real_fopen(words[k + 1], "w");
        else return std::fprintf(stderr, "usage: %s [--quiet-ms N] [--cycles FILE]\n", words[0]), 2;
    }
    read_images();
    Board board(cycles);
    unsigned char bytes[4096];
    pollfd input = {0, POLLIN, 0};
    for (bool waiting = false;;) {
        const int ready = poll(&input, 1, waiting ? quiet_ms : -1);
        if (ready < 0 && errno != EINTR) return 1;
        if (ready == 0) {
            board.quiet();
            flush(board);
            waiting = false;
        }
        if (ready <= 0) continue;
        const ssize_t got = read(0, bytes, sizeof bytes);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        for (ssize_t k = 0; k < got; ++k) board.give(bytes[k]);
        board.pause();
        flush(board);
        waiting = true;
    }
    if (cycles) std::fclose(cycles);
    return 0;
}
