package io.sjd2.train;

import io.sjd2.tokenizer.Tokenizer;
import io.sjd2.vq.ImageTokenizer;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;

/// A folder of pictures with captions as tokens. All of them are tokenised when the folder is opened, so that a damaged
/// file is found before training starts.
public final class ImageFolderData implements TrainingData {
    /// One example in this many is kept out of training, where there are as many.
    private static final int HELD_OUT_SHARE = 20;

    private final List<Example> examples;

    private ImageFolderData(List<Example> examples) {
        this.examples = List.copyOf(examples);
    }

    /// Reads and tokenises pictures.
    ///
    /// @param width  pixels of the model's pictures, as is `height`
    /// @throws ModelFormatException naming the file, if a picture cannot be read
    public static ImageFolderData open(
            CaptionedPictures pictures, int width, int height, ImageTokenizer images, Tokenizer text)
            throws IOException {
        List<Example> examples = new ArrayList<>();
        for (int i = 0; i < pictures.size(); i++) {
            examples.add(new Example(
                    text.encode(pictures.caption(i), false), images.encode(pictures.picture(i, width, height))));
        }
        return new ImageFolderData(examples);
    }

    /// What to train on: all but the examples held out.
    public ImageFolderData training() {
        return part(false);
    }

    /// Every twentieth example, to judge the model by; none if there are fewer than twenty in all.
    public ImageFolderData heldOut() {
        return part(true);
    }

    private ImageFolderData part(boolean heldOut) {
        List<Example> part = new ArrayList<>();
        for (int i = 0; i < examples.size(); i++) {
            if (heldOut == (i % HELD_OUT_SHARE == HELD_OUT_SHARE - 1)) {
                part.add(examples.get(i));
            }
        }
        return new ImageFolderData(part);
    }

    @Override
    public long size() {
        return examples.size();
    }

    @Override
    public Example example(long index) {
        return examples.get(Math.toIntExact(index));
    }
}
